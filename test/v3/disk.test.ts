import assert from 'node:assert/strict'
import path from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { ConversationId, Send } from '@messageu/protocol/v3'
import { faulty, needsStrace } from '../strace.ts'
import { random } from './peer.ts'
import { Stage } from './stage.ts'

/** Contents are numbered from 1: enough for all the cases. */
const incoming = Array.from({ length: 300 }, (_, i) => `content/incoming/${i + 1}`)
const database = ['server.db', 'server.db-wal']
const writing = ['write', 'writev', 'pwrite64', 'pwritev']
const small = 100
const large = 70_000

/** What fails, and what a device must not get accepted meanwhile. */
// biome-ignore format: the columns are the point
const cases = [
  { error: 'ENOSPC', calls: writing,                files: database, refuses: [small, large] },
  { error: 'EDQUOT', calls: writing,                files: database, refuses: [small, large] },
  { error: 'EROFS',  calls: writing,                files: database, refuses: [small, large] },
  { error: 'EIO',    calls: writing,                files: database, refuses: [small, large] },
  { error: 'ENOSPC', calls: writing,                files: incoming, refuses: [large] },
  { error: 'EIO',    calls: writing,                files: incoming, refuses: [large] },
  { error: 'EMFILE', calls: ['openat'],             files: incoming, refuses: [large] },
  { error: 'EACCES', calls: ['openat'],             files: incoming, refuses: [large] },
  { error: 'ENOSPC', calls: ['fsync', 'fdatasync'], files: incoming, refuses: [large] },
  { error: 'EACCES', calls: ['rename', 'renameat2'],files: incoming, refuses: [large] },
] as const

suite('K05: a disk that takes no more', needsStrace, () => {
  let stage: Stage
  before(async () => {
    stage = await Stage.start()
  })
  after(() => stage[Symbol.asyncDispose]())

  for (const { error, calls, files, refuses } of cases)
    test(`${error} at ${calls[0]} of ${files[0]}: refused as storage-full, and accepted as soon as it can be`, async () => {
      const { alice, bob, conversation } = stage
      const refused: Send[] = []
      const before = (await alice.send(conversation, random(small))).sequence
      {
        const paths = files.map((file) => path.join(stage.folder, file))
        await using _ = await faulty(stage.server.pid, { calls, paths }, error)
        for (const bytes of [small, large]) {
          const send = alice.newSend(conversation, random(bytes))
          const isRefused = (refuses as readonly number[]).includes(bytes)
          assert.equal(await alice.outcomeOf('send', send), isRefused ? 'storage-full' : 'done', `${bytes} bytes`)
          if (isRefused) refused.push(send)
        }
        const { sequence } = await bob.ask('read-state', { conversation })
        assert.equal(sequence, before + 2 - refused.length, 'nothing is half there, and reading goes on')
      }
      for (const send of refused) assert.equal(await alice.outcomeOf('send', send), 'done', 'the same bytes again')
      const heard = (send: Send): boolean => isHeard(stage, conversation, send)
      await bob.until(() => refused.every(heard))
    })

  test('and afterwards the server ends in order, and nothing is lost', async () => {
    const { alice, conversation } = stage
    const { sequence } = await alice.ask('read-state', { conversation })
    assert.deepEqual(await stage.server.end(), { code: 0, signal: null })
    await stage.restart()
    assert(
      stage.server.run.log.some(({ orphansRemoved }) => orphansRemoved === 0),
      'no file was left over',
    )
    await alice.reconnect()
    assert.equal((await alice.ask('read-state', { conversation })).sequence, sequence)
  })
})

function isHeard({ bob }: Stage, conversation: ConversationId, { sealed }: Send): boolean {
  return bob.heard(conversation).filter((each) => Buffer.compare(each, sealed) === 0).length === 1
}
