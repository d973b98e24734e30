import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { nameToText } from '@messageu/protocol/v2'
import { asFailure, Failure } from '../failure.ts'
import { type Output, tell } from '../output.ts'
import { printable } from '../terminal.ts'
import * as v2 from './client.ts'
import { publicKeyOf, sameKey } from './crypto.ts'
import { loadState } from './state.ts'

const originalServer = { host: '127.0.0.1', port: 1234 }

interface Step {
  readonly title: string
  readonly run: (players: Players) => Promise<void>
}

/** Two clients, and a third that takes the name of the first. */
interface Players {
  readonly one: Player
  readonly two: Player
  readonly impostor: Player
  readonly folder: string
}

interface Player {
  readonly name: string
  readonly client: v2.Client
}

/** What a step saw is not what the protocol promises. */
class Mismatch extends Error {
  readonly expected: string
  readonly got: string

  constructor(expected: unknown, got: unknown) {
    super('mismatch')
    this.expected = String(expected)
    this.got = String(got)
  }
}

const texts = ['message 1 from client2', 'message 2 from client2', 'A'.repeat(5000)]
const fileContent = Buffer.from('a file of exactly thirty-three by')

const steps: readonly Step[] = [
  { title: 'client 1 registers', run: ({ one }) => registers(one) },
  {
    title: 'client 1 refuses to register again, and sends nothing',
    async run({ one }) {
      await using tripwire = await openTripwire()
      const again = v2.register({ ...one.client, server: tripwire.address }, one.name)
      expect('already-registered', await codeOf(again))
      expect('0 connections', `${tripwire.connections} connections`)
    },
  },
  {
    title: 'client 1 lists people and is not among them',
    run: async ({ one }) => expect(0, await timesListed(one, one)),
  },
  { title: 'nothing waits for client 1', run: ({ one }) => nothingWaits(one) },
  {
    title: 'the server refuses the name of client 1 to somebody else',
    run: async ({ impostor }) => expect('refused', await codeOf(v2.register(impostor.client, impostor.name))),
  },
  { title: 'client 2 registers', run: ({ two }) => registers(two) },
  {
    title: 'client 2 lists client 1 exactly once',
    run: async ({ one, two }) => expect(1, await timesListed(two, one)),
  },
  { title: 'client 2 gets the public key of client 1', run: ({ one, two }) => getsKey(two, one) },
  {
    title: 'client 2 asks client 1 for a key',
    run: async ({ one, two }) => void (await v2.askForKey(two.client, one.name)),
  },
  {
    title: 'client 1 lists client 2 exactly once',
    run: async ({ one, two }) => expect(1, await timesListed(one, two)),
  },
  { title: 'client 1 gets the public key of client 2', run: ({ one, two }) => getsKey(one, two) },
  {
    title: 'client 1 gets the key request, once',
    run: ({ one, two }) => gets(one, two, [{ kind: 'key-request' }]),
  },
  {
    title: 'client 1 gives client 2 a key',
    run: async ({ one, two }) => void (await v2.giveKey(one.client, two.name)),
  },
  {
    title: 'client 2 gets the same key, once',
    async run({ one, two }) {
      await gets(two, one, [{ kind: 'key', change: 'first' }])
      const [given, received] = [await keyBetween(one, two), await keyBetween(two, one)]
      expect('the same key', given && received && sameKey(given, received) ? 'the same key' : 'another key')
    },
  },
  {
    title: 'client 2 sends two short texts and one of 5000 bytes; client 1 gets them in order, once',
    async run({ one, two }) {
      for (const text of texts) await v2.sendText(two.client, one.name, text)
      await gets(
        one,
        two,
        texts.map((text) => ({ kind: 'text', text })),
      )
    },
  },
  {
    title: `client 1 sends a file of ${fileContent.length} bytes; client 2 gets the same bytes`,
    async run({ one, two, folder }) {
      const path = join(folder, 'file')
      await writeFile(path, fileContent)
      await v2.sendFile(one.client, two.name, path)
      const [reading, ...more] = await readAll(two)
      expect('one file', reading?.kind === 'message' && more.length === 0 ? `one ${reading.content.kind}` : 'no file')
      if (reading?.kind !== 'message' || reading.content.kind !== 'file') return
      expect(fileContent.toString('hex'), (await readFile(reading.content.path)).toString('hex'))
    },
  },
]

/** The steps of the original's test, against any server. Rejects after the first step that fails. */
export async function testServer(client: v2.Client, output: Output): Promise<void> {
  const server = client.server ?? (await v2.loadAddress(client.dir)) ?? originalServer
  const folder = await mkdtemp(join(tmpdir(), 'messageu-test-'))
  try {
    await runSteps(playersIn(folder, { ...client, server }), output)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Fresh names: the test can be repeated, on a server that others use. */
function playersIn(folder: string, client: v2.Client): Players {
  const run = randomBytes(4).toString('hex')
  const player = (dir: string, name: string): Player => ({ name, client: { ...client, dir: join(folder, dir) } })
  return {
    one: player('1', `client1-${run}`),
    two: player('2', `client2-${run}`),
    impostor: player('3', `client1-${run}`),
    folder,
  }
}

async function runSteps(players: Players, output: Output): Promise<void> {
  let failed = 0
  for (const [index, { title, run }] of steps.entries()) {
    const n = index + 1
    if (failed > 0) {
      await tell(output, { event: 'step', n, title, result: 'not-run' }, `not run ${n}  ${title}`)
      continue
    }
    const problem = await problemIn(run, players)
    if (problem === undefined) await tell(output, { event: 'step', n, title, result: 'pass' }, `pass ${n}  ${title}`)
    else {
      failed = n
      const { expected, got } = problem
      const lines = `FAIL ${n}  ${title}\n  expected: ${printable(expected)}\n  got: ${printable(got)}`
      await tell(output, { event: 'step', n, title, result: 'fail', expected, got }, lines)
    }
  }
  if (failed > 0)
    throw new Failure('test-failed', {
      what: `step ${failed} of ${steps.length} failed`,
      advice: 'compare what was expected with what the server did; the steps after it were not run',
    })
  await tell(output, { event: 'tested', passed: steps.length }, `all ${steps.length} steps passed`)
}

async function problemIn(run: Step['run'], players: Players): Promise<{ expected: string; got: string } | undefined> {
  try {
    await run(players)
    return undefined
  } catch (error) {
    if (error instanceof Mismatch) return error
    const failure = asFailure(error)
    if (failure.code === 'interrupted') throw failure
    return { expected: 'no failure', got: failure.message }
  }
}

function expect(expected: unknown, got: unknown): void {
  if (!isDeepStrictEqual(expected, got)) throw new Mismatch(expected, got)
}

async function registers({ name, client }: Player): Promise<void> {
  expect(name, nameToText((await v2.register(client, name)).name))
}

async function timesListed(by: Player, whom: Player): Promise<number> {
  const { id } = await v2.whoAmI(whom.client)
  const listed = await v2.people(by.client)
  return listed.filter(({ client, name }) => v2.idText(client) === v2.idText(id) || nameToText(name) === whom.name)
    .length
}

async function getsKey(by: Player, whom: Player): Promise<void> {
  const { privateKey } = await v2.whoAmI(whom.client)
  const { publicKey } = await v2.publicKey(by.client, whom.name)
  expect(Buffer.from(publicKeyOf(privateKey)).toString('hex'), Buffer.from(publicKey).toString('hex'))
}

/** Exactly these, in this order, and nothing when asked again. */
async function gets(by: Player, from: Player, contents: readonly v2.Content[]): Promise<void> {
  const { id } = await v2.whoAmI(from.client)
  const seen = (await readAll(by)).map((reading) => ({
    from: v2.idText(reading.from.id),
    got: reading.kind === 'message' ? reading.content : reading.kind,
  }))
  expect(
    contents.map((content) => JSON.stringify({ from: v2.idText(id), got: content })).join(' '),
    seen.map((each) => JSON.stringify(each)).join(' '),
  )
  await nothingWaits(by)
}

async function nothingWaits(player: Player): Promise<void> {
  expect('0 messages', `${(await readAll(player)).length} messages`)
}

/** What the server handed out; a message that it repeats counts again. */
async function readAll({ client }: Player): Promise<v2.Reading[]> {
  return Array.fromAsync(v2.read(client, { save: join(client.dir, 'received') }))
}

async function keyBetween(player: Player, other: Player) {
  const me = await v2.whoAmI(player.client)
  const { id } = await v2.whoAmI(other.client)
  return (await loadState(player.client.dir, me.id)).people.get(v2.idText(id))?.keys[0]
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
    return 'success'
  } catch (error) {
    return asFailure(error).code
  }
}

/** A place where nobody should call. */
async function openTripwire(): Promise<{ address: v2.Address; connections: number } & AsyncDisposable> {
  const tripwire = {
    address: { host: '127.0.0.1', port: 0 },
    connections: 0,
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
  const server = createServer((socket) => {
    tripwire.connections += 1
    socket.destroy()
  })
  server.listen(0, tripwire.address.host)
  await once(server, 'listening')
  const listening = server.address()
  if (listening === null || typeof listening === 'string') throw new Error('a TCP server has a port')
  tripwire.address.port = listening.port
  return tripwire
}
