import assert from 'node:assert/strict'
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { systemRandom } from '@messageu/client'
import { newWords } from '@messageu/e2ee'
import { Failure } from '../../src/failure.ts'
import { asClientFailure } from '../../src/v3/failing.ts'
import { wordsForNewAccount, wordsOfAccount } from '../../src/v3/words.ts'

const { signal } = new AbortController()
const hasModes = process.platform !== 'win32'

describe('words in a file', () => {
  let folder = ''
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'messageu-words-'))
  })
  after(() => rm(folder, { recursive: true }))

  /** A file with that content, which only its owner reads. */
  async function file(name: string, content: string): Promise<string> {
    const made = path.join(folder, name)
    await writeFile(made, content, { mode: 0o600 })
    return made
  }

  async function reasonOf(content: string): Promise<unknown> {
    const made = await file('wrong', content)
    return wordsOfAccount(made, { signal }).then(() => undefined, asClientFailure)
  }

  test('are made for a new account, for its owner alone, and are the same at the next try', async () => {
    const made = path.join(folder, 'new folder', 'words')
    const first = await wordsForNewAccount(made, systemRandom, { signal })
    const content = await readFile(made, 'utf8')
    assert.equal(content, `${first.words.show().join(' ')}\n`)
    assert.equal(content.trim().split(' ').length, 24)
    if (hasModes) assert.equal((await stat(made)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(path.dirname(made)), ['words'])
    const again = await wordsForNewAccount(made, systemRandom, { signal })
    assert.deepEqual(again.words.show(), first.words.show())
    assert.equal(await readFile(made, 'utf8'), content)
  })

  test('are read however they are laid out', async () => {
    const words = newWords(systemRandom).show()
    const made = await file('laid-out', `\n  ${words.join('\r\n').toUpperCase()}\t\n`)
    assert.deepEqual((await wordsOfAccount(made, { signal })).show(), words)
  })

  test('are refused with what is wrong about them, and nothing of them is repeated', async () => {
    const words = [...newWords(systemRandom).show()]
    const wrongs = [
      { content: words.slice(1).join(' '), says: /^23 words instead of 24$/, advises: /word by word/ },
      { content: words.with(4, 'abandn').join(' '), says: /^word 5 is not on the list$/, advises: /^perhaps abandon/ },
      { content: words.with(4, '\u001b[31m').join(' '), says: /^word 5 is not on the list$/, advises: /word by word/ },
      { content: Array(24).fill('abandon').join(' '), says: /do not belong together/, advises: /word by word/ },
      { content: '\n', says: /^there are no words$/, advises: /^the 24 words/ },
    ]
    for (const { content, says, advises } of wrongs) {
      const failure = await reasonOf(content)
      assert(failure instanceof Failure)
      assert.deepEqual([failure.code, failure.exitCode, failure.cause], ['bad-words', 2, undefined])
      assert.match(failure.message, says)
      assert.match(failure.advice, advises)
    }
  })

  test('are refused where others can read them, behind a link, in a folder, and in what is far too large', async () => {
    const good = await file('good', newWords(systemRandom).show().join(' '))
    if (hasModes) {
      const exposed = await file('exposed', await readFile(good, 'utf8'))
      await chmod(exposed, 0o640)
      await assert.rejects(wordsOfAccount(exposed, { signal }), { code: 'insecure-file', advice: /^chmod 600/ })
      await symlink(good, path.join(folder, 'link'))
      await assert.rejects(wordsOfAccount(path.join(folder, 'link'), { signal }), { code: 'insecure-file' })
      await assert.rejects(wordsForNewAccount(path.join(folder, 'link'), systemRandom, { signal }), {
        code: 'insecure-file',
      })
    }
    await assert.rejects(wordsOfAccount(folder, { signal }), { name: 'Failure' })
    const large = await file('large', 'x'.repeat(4097))
    await assert.rejects(wordsOfAccount(large, { signal }), { code: 'damaged' })
  })

  test('are asked for by name where there is no such file, and none is made', async () => {
    const none = path.join(folder, 'none')
    await assert.rejects(wordsOfAccount(none, { signal }), { code: 'no-such-file', exitCode: 6 })
    assert(!(await readdir(folder)).includes('none'))
  })
})
