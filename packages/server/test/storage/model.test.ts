import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import type { Client, Storage } from '../../src/storage.ts'
import { bytesOf, openSqliteIn, registered, temporaryFolder } from '../world.ts'
import type { CrashEvent } from './crash-child.ts'
import { everything, heard, kinds, positionsOf, randomFrom, type Sent, seed, send, sendFile } from './world.ts'

/** What a storage was told and has acknowledged, and nothing else. */
class Model {
  readonly clients: Client[] = []
  readonly waiting = new Map<Client, Sent[]>()
  /** Whose mailbox is being fetched. */
  readonly fetching = new Set<Client>()
  highest = 0

  waitingFor(client: Client): Sent[] {
    return this.waiting.get(client) ?? []
  }

  accepted(client: Client, sent: Sent): void {
    const list = [...this.waitingFor(client), sent].sort((one, other) => one.position - other.position)
    this.waiting.set(client, list)
    this.highest = Math.max(this.highest, sent.position)
  }

  discarded(client: Client, positions: readonly number[]): void {
    const left = this.waitingFor(client).filter(({ position }) => !positions.includes(position))
    this.waiting.set(client, left)
  }

  async verify(storage: Storage): Promise<void> {
    for (const client of this.clients) {
      const expected = Buffer.concat(this.waitingFor(client).map(({ bytes }) => bytes))
      assert((await heard(storage, client)).equals(expected), `client ${client.number}, seed ${seed}`)
      assert.equal(storage.clientByLogin(client.login)?.number, client.number)
    }
    const count = [...this.waiting.values()].reduce((sum, list) => sum + list.length, 0)
    assert.equal(storage.figures().waitingMessages, count)
    assert.equal(storage.figures().clients, this.clients.length)
  }
}

/** One of the things that happen to a storage, at the same time as others. */
async function something(storage: Storage, model: Model, random: ReturnType<typeof randomFrom>): Promise<void> {
  const client = random.pick(model.clients)
  const sender = random.pick(model.clients)
  const dice = random.below(100)
  if (dice < 75) {
    const bytes = random.below(20) === 0 ? random.below(65_537) : random.below(300)
    const before = model.highest
    const sent = await send(storage, sender, client, Buffer.alloc(bytes, dice))
    assert(sent.position > before, 'positions only grow')
    model.accepted(client, sent)
  } else if (dice < 77) {
    model.accepted(client, await sendFile(storage, sender, client, Buffer.alloc(65_537 + random.below(200_000), dice)))
  } else if (dice < 78) {
    model.clients.push(await registered(storage, `client ${model.clients.length} ${dice} ${random.below(1e9)}`))
  } else {
    const fetched = storage.waiting(client, random.below(2) === 0 ? everything : random.below(20_000))
    const isRead = random.below(4) === 0
    if (model.fetching.has(client)) return // one at a time: what one has discarded another one cannot read
    model.fetching.add(client)
    if (isRead) await bytesOf(storage, fetched)
    await storage.discard(fetched)
    model.discarded(client, positionsOf(fetched))
    model.fetching.delete(client)
  }
}

suite('whatever happens at the same time', () => {
  for (const [kind, open] of Object.entries(kinds))
    test(`what was acknowledged is there, in order and once: ${kind}`, async () => {
      await using folder = await temporaryFolder()
      const random = randomFrom(seed)
      const model = new Model()
      const lives = kind === 'memory' ? 1 : 5 // only one of them remembers anything
      for (let life = 0; life < lives; life++) {
        await using storage = await open(folder.path)
        while (model.clients.length < 8) model.clients.push(await registered(storage, `client ${model.clients.length}`))
        await model.verify(storage)
        for (let round = 0; round < 300 / lives; round++) {
          const atOnce = 1 + random.below(15)
          await Promise.all(Array.from({ length: atOnce }, () => something(storage, model, random)))
          if (round % 20 === 0) await model.verify(storage)
        }
        if (life % 2 === 1) await new Promise((resolve) => setTimeout(resolve, 400)) // time to fold
        await model.verify(storage)
      }
    })

  test('positions go on growing over restarts, also when nothing waits and all is folded', async () => {
    await using folder = await temporaryFolder()
    let highest = 0
    let me: Client | undefined
    for (let start = 0; start < 4; start++) {
      await using storage = await openSqliteIn(folder.path)
      me ??= await registered(storage, 'me')
      for (let i = 0; i < 3; i++) {
        const { position } = await send(storage, me, me, 'hello')
        assert(position > highest)
        highest = position
      }
      await storage.discard(storage.waiting(me, everything))
      if (start === 1) await folded(folder.path, storage, me)
      highest += start === 1 ? 300 : 0
    }
  })

  test('I1 I7 kill -9 at any time: what was acknowledged is there, in order and once', async () => {
    await using folder = await temporaryFolder()
    const random = randomFrom(seed)
    const acknowledged = new Map<number, Map<number, string>>()
    for (let round = 0; round < 4; round++) {
      const events = await crash(folder.path, 150 + random.below(500), seed + round)
      const maybe = new Set<number>() // discards of which nobody knows
      for (const event of events) {
        const mailbox = acknowledged.get(event.mailbox) ?? new Map<number, string>()
        acknowledged.set(event.mailbox, mailbox)
        if (event.kind === 'accepted') mailbox.set(event.position, event.digest)
        else
          for (const position of event.positions) {
            if (event.kind === 'discarded') mailbox.delete(position)
            else maybe.add(position)
          }
      }
      await using storage = await openSqliteIn(folder.path)
      for (const [number, mailbox] of acknowledged) {
        const client = storage.clientByLogin(Buffer.alloc(16, number) as Uint8Array as Client['login']) as Client
        const fetched = storage.waiting(client, everything)
        const positions = positionsOf(fetched)
        assert.deepEqual(
          positions,
          [...new Set(positions)].sort((one, other) => one - other),
          'in order, and once',
        )
        for (const position of mailbox.keys()) {
          if (maybe.has(position) && !positions.includes(position)) mailbox.delete(position)
          else assert(positions.includes(position), `message ${position} of ${number} was acknowledged, seed ${seed}`)
        }
        assert.equal((await bytesOf(storage, fetched)).length, fetched.bytes, 'all of them can be read')
        // what was never acknowledged may be there as well: its sender was about to be told
        acknowledged.set(number, new Map(positions.map((position) => [position, ''])))
      }
      const files = readdirSync(path.join(folder.path, 'content')).filter((name) => name !== 'incoming')
      const large = [...acknowledged.keys()].flatMap((number) => {
        const client = storage.clientByLogin(Buffer.alloc(16, number) as Uint8Array as Client['login']) as Client
        return [...storage.waiting(client, everything).sizes].filter((size) => size > 65_561)
      })
      assert.equal(files.length, large.length, 'as many contents as messages that have one')
      assert.deepEqual(readdirSync(path.join(folder.path, 'content', 'incoming')), [])
    }
  })
})

/** Runs the child for `ms` on the folder, kills it, and returns what it was told until then. */
async function crash(folder: string, ms: number, childSeed: number): Promise<CrashEvent[]> {
  const script = new URL('crash-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, folder, String(childSeed)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const events: CrashEvent[] = []
  let ready = false
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    if (!ready) setTimeout(() => child.kill('SIGKILL'), ms)
    ready = true
    events.push(JSON.parse(line) as CrashEvent)
  })
  await Promise.all([once(child, 'exit'), once(lines, 'close')])
  assert.equal(child.signalCode, 'SIGKILL')
  return events
}

/** Sends until the journal was folded away. */
async function folded(folder: string, storage: Storage, me: Client): Promise<void> {
  for (let i = 0; i < 300; i++) await send(storage, me, me, 'hello')
  await storage.discard(storage.waiting(me, everything))
  const database = new DatabaseSync(path.join(folder, 'server.db'), { readOnly: true })
  const rows = database.prepare('SELECT count(*) AS rows FROM messages')
  while ((rows.get() as { rows: number }).rows > 60) await new Promise((resolve) => setTimeout(resolve, 100))
  database.close()
}
