import assert from 'node:assert/strict'
import { once } from 'node:events'
import { cp } from 'node:fs/promises'
import { createServer, connect as dial, type Socket } from 'node:net'
import { suite, test } from 'node:test'
import { ClientError, type SessionEvent } from '@messageu/client'
import { formatLink, parseLink } from '@messageu/protocol/v3'
import { run, ServerProcess } from '../serverProcess.ts'
import { conversationOf, World } from './world.ts'

const never = new AbortController().signal
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Whether an error is of the client and has this reason. */
const withReason =
  (reason: ClientError['reason']) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason

suite('who is at the other end', () => {
  test('N08: a server with another key is not talked to, whatever it holds', async () => {
    await using world = await World.start()
    const alice = await world.person('alice')
    await alice[Symbol.asyncDispose]()
    await world.server.end()
    const { port } = parseLink(world.link)
    await using _stranger = await ServerProcess.start({
      folder: world.folderOf('stranger'),
      flags: ['--port', String(port)],
    })
    await assert.rejects(world.open({ folder: world.folderOf('alice') }), withReason('untrusted-server'))
  })

  test('N02: a relay that cuts and comes back loses nothing, and what passes through it twice counts once', async () => {
    await using world = await World.start()
    const { port, ...rest } = parseLink(world.link)
    await using relay = await Relay.start(port)
    const link = formatLink({ ...rest, port: relay.port })
    const alice = await world.open({ folder: world.folderOf('alice'), name: 'alice', link })
    const bob = await world.person('bob')
    const conversation = await conversationOf(alice, bob)
    const outcomes = []
    for (const i of numbers(60)) {
      outcomes.push((await alice.say(conversation, `alice ${i}`, { epoch: 1 })).outcome)
      if (i % 12 === 11) relay.cut()
    }
    for (const outcome of outcomes) assert.equal((await outcome).kind, 'accepted')
    assert.deepEqual(
      await bob.hears(60),
      numbers(60).map((i) => `alice ${i}`),
    )
  })
})

suite('one device, once', () => {
  test('a profile that was copied and used is recognised: it sends nothing', async () => {
    await using world = await World.start()
    const alice = await world.person('alice')
    const bob = await world.person('bob')
    const conversation = await conversationOf(alice, bob)
    await alice[Symbol.asyncDispose]()
    await cp(world.folderOf('alice'), world.folderOf('copy'), { recursive: true })
    const original = await world.open({ folder: world.folderOf('alice') })
    await (await original.say(conversation, 'alice 0', { epoch: 1 })).outcome
    await original[Symbol.asyncDispose]()
    await assert.rejects(world.open({ folder: world.folderOf('copy') }), withReason('clone'))
    assert.deepEqual(await bob.hears(1), ['alice 0'])
  })

  test('of two sessions of one device the newer stays, and the older is told and does not come back', async () => {
    await using world = await World.start()
    const alice = await world.person('alice')
    await alice[Symbol.asyncDispose]()
    await cp(world.folderOf('alice'), world.folderOf('copy'), { recursive: true })
    const events: SessionEvent[] = []
    const ended = Promise.withResolvers<Error>()
    const onEvent = (event: SessionEvent): void => {
      events.push(event)
      if (event.kind === 'phase' && event.phase.phase === 'ended') ended.resolve(event.phase.why)
    }
    await world.open({ folder: world.folderOf('alice'), onEvent })
    const newer = await world.open({ folder: world.folderOf('copy') })
    assert(withReason('superseded')(await ended.promise))
    assert.equal((await newer.session.people({ signal: never }).next()).done, false)
  })

  test('S13, C01: a device that is taken off its list is cut off at once, and its proof is refused from then on', async () => {
    await using world = await World.start()
    const alice = await world.person('alice')
    const ended = Promise.withResolvers<Error>()
    const laptop = await world.sibling(alice, 'laptop', (event) => {
      if (event.kind === 'phase' && event.phase.phase === 'ended') ended.resolve(event.phase.why)
    })
    assert.equal((await alice.session.ownList({ signal: never })).devices.length, 2)
    await world.takeOff(alice, laptop.id)
    assert(withReason('delisted')(await ended.promise))
    await laptop[Symbol.asyncDispose]()
    await assert.rejects(world.open({ folder: world.folderOf('laptop') }))
  })
})

test('a restored server says that it counts anew, and goes on with those who know more than it does', async () => {
  await using world = await World.start()
  const events: SessionEvent[] = []
  const alice = await world.person('alice')
  const bob = await world.person('bob', { onEvent: (event) => void events.push(event) })
  const conversation = await conversationOf(alice, bob)
  await (await alice.say(conversation, 'alice 0', { epoch: 1 })).outcome
  await bob.hears(1)
  const backup = world.folderOf('backup')
  const server = world.folderOf('server')
  assert.equal((await run(['admin', 'backup', backup, '--data', server])).exit.code, 0)
  await world.killServer()
  const restored = world.folderOf('restored')
  assert.equal((await run(['admin', 'restore', backup, '--data', restored])).exit.code, 0)
  await world.startServer({ folder: restored })
  await (await alice.say(conversation, 'alice 1', { epoch: 1 })).outcome
  assert.equal((await bob.hears(2)).at(-1), 'alice 1')
  assert(events.some(({ kind }) => kind === 'incarnation'))
})

/** Passes bytes on, and cuts when it is told to. */
class Relay implements AsyncDisposable {
  readonly port: number
  readonly #server: ReturnType<typeof createServer>
  readonly #sockets: Set<Socket>

  private constructor(server: ReturnType<typeof createServer>, sockets: Set<Socket>) {
    const address = server.address()
    assert(address !== null && typeof address !== 'string')
    this.port = address.port
    this.#server = server
    this.#sockets = sockets
  }

  static async start(port: number): Promise<Relay> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      const target = dial({ port, host: '127.0.0.1' })
      for (const [one, other] of [
        [socket, target],
        [target, socket],
      ] as const) {
        sockets.add(one)
        one.on('error', () => {})
        one.on('close', () => {
          sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Relay(server, sockets)
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
