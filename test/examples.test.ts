import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { type Ended, events } from '../packages/cli/test/v2/world.ts'
import { ServerProcess, temporaryFolder } from './serverProcess.ts'
import { shell } from './v3/shell.ts'

const repository = path.join(import.meta.dirname, '..')
const bin = path.join(repository, 'node_modules/.bin')

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

const as =
  (profile: string) =>
  (...args: string[]): Promise<Ended> =>
    shell(folder, server.link)([...args, '--profile', profile])

/** An example as a person starts it, with the program on the path. */
function start(profile: string, file: string, ...args: string[]) {
  const environment = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    MESSAGEU_SERVER: server.link,
    MESSAGEU_DATA_DIR: folder.of('profiles'),
    MESSAGEU_PROFILE: profile,
  }
  const command = file.endsWith('.ts') ? [process.execPath] : ['sh']
  const [program = '', ...rest] = [...command, path.join(repository, 'examples', file), ...args]
  const child = spawn(program, rest, { env: environment, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const out = Array.fromAsync(child.stdout.setEncoding('utf8') as AsyncIterable<string>).then((parts) => parts.join(''))
  return { child, ended, out }
}

async function textsFor(name: string): Promise<unknown[]> {
  const messages = events(await as(name)('listen', '--once', '--json')).filter(({ event }) => event === 'message')
  return messages.map(({ content }) => (content as { text?: string }).text)
}

before(async () => {
  folder = await temporaryFolder('memory')
  server = await ServerProcess.start({ folder: folder.of('server') })
  for (const name of ['script', 'admin', 'bot']) assert.equal((await as(name)('register', name)).code, 0)
  for (const name of ['script', 'bot']) assert.equal((await as('admin')('requests', 'accept', name)).code, 0)
})

after(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

test('alert.sh tells of full disks, and says nothing while there is none', async () => {
  assert.equal(await start('script', 'alert.sh', 'admin', '101').ended, 0)
  assert.deepEqual(await textsFor('admin'), [])
  assert.equal(await start('script', 'alert.sh', 'admin', '0').ended, 0)
  const [text, ...more] = await textsFor('admin')
  assert.deepEqual(more, [])
  assert.match(String(text), /^\/\S* is \d+% full$/m)
})

test('pipe-log.sh sends the lines that match, one message each', async () => {
  const { child, ended } = start('script', 'pipe-log.sh', 'admin', 'ERROR')
  child.stdin.end('all is well\nERROR one\nall is well\nERROR two\n')
  assert.equal(await ended, 0)
  assert.deepEqual(await textsFor('admin'), ['ERROR one', 'ERROR two'])
})

test('echo-bot.ts lets whoever asks write to it, and answers each text with itself, once', async () => {
  const { child, ended } = start('bot', 'echo-bot.ts', path.join(folder.of('profiles'), 'bot'))
  const said = ['hello bot', 'still there?']
  for (const text of said) assert.equal((await as('admin')('send', 'bot', text)).code, 0)
  const answers: unknown[] = []
  while (answers.length < said.length) answers.push(...(await textsFor('admin')))
  assert.deepEqual(answers, said)
  child.kill('SIGINT')
  assert.equal(await ended, 0)
})

test('group-of-three.sh makes three accounts and shows what each of them gets to see', async () => {
  const { ended, out } = start('script', 'group-of-three.sh')
  assert.equal(await ended, 0)
  const shown = await out
  assert.equal(shown.match(/^ada → #trio {2}Hello, both of you$/gm)?.length, 2, shown)
  assert.equal(shown.match(/^ben → #trio {2}Hello, ada$/gm)?.length, 2, shown)
})
