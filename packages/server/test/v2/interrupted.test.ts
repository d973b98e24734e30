import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Client } from '../../src/storage.ts'
import type { V2Options } from '../../src/v2/listener.ts'
import { registered, startV2, storages, temporaryFolder, type V2World } from '../world.ts'
import { exchange, fetchRequest, messagesIn, Peer, patterned, quiet, refusal, sleep, stored, watchful } from './peer.ts'
import { type Dice, dice } from './random.ts'

/**
 * Some hundred fetches that break in every way we know. What must be there is decided by what the peers saw, never by
 * what the server says of itself.
 */

const endings = ['close', 'reset', 'half-close and read on', 'stand still', 'read slowly', 'read it all'] as const

/**
 * One fetch as the peer lived through it: `whole` when it read everything that the answer announces and closed the
 * connection in good order. A server that gives up in the middle ends it in good order as well.
 */
interface Account {
  readonly whole: boolean
  readonly answer: Buffer
}

async function interruptedFetch(world: V2World, reader: Client, expected: number, dice: Dice): Promise<Account> {
  const ending = dice.pick(endings)
  const cut = dice.pick([0, dice.below(expected), Math.max(0, expected - 1 - dice.below(200)), dice.below(40)])
  using peer = await Peer.dial(world.port)
  peer.write(fetchRequest(reader))
  const account = (whole: boolean): Account => ({ whole, answer: peer.answer })
  switch (ending) {
    case 'close': {
      await peer.until(cut)
      const whole = peer.socket.bytesRead === announcedBytes(peer.answer) // the last bytes may have come with those that were waited for
      peer.socket.destroy()
      await peer.closed()
      return account(whole)
    }
    case 'reset':
      await peer.until(cut)
      peer.socket.resetAndDestroy()
      await peer.closed()
      return account(false)
    case 'half-close and read on':
      await peer.until(cut)
      peer.socket.end()
      return await readToItsEnd(peer)
    case 'stand still':
      await peer.until(cut)
      peer.socket.pause()
      await sleep(limits.writeSilenceMs + 200)
      peer.socket.resetAndDestroy()
      return account(false)
    case 'read slowly':
      for (let pauses = 0; pauses < 5; pauses++) {
        await sleep(dice.below(8))
        peer.socket.pause()
        await sleep(dice.below(8))
        peer.socket.resume()
      }
      return await readToItsEnd(peer)
    case 'read it all':
      return await readToItsEnd(peer)
  }
}

async function readToItsEnd(peer: Peer): Promise<Account> {
  const { answer, clean } = await peer.finish()
  return { whole: clean && answer.length === announcedBytes(answer), answer }
}

/** Of the whole answer; undefined before its header is here. */
function announcedBytes(answer: Buffer): number | undefined {
  return answer.length < 7 ? undefined : 7 + answer.readUInt32LE(3)
}

const nameOf = (content: Buffer): string => content.toString('latin1', 0, 12)

/**
 * One reader's life: messages come, fetches break, and in the end everything is fetched. Whoever has read everything, but
 * later than the server has to wait for, gets all of that again or none of it.
 */
async function life(world: V2World, sender: Client, name: string, seed: number, rounds: number): Promise<void> {
  const chance = dice(seed)
  const reader = await registered(world.storage, name)
  let late: Buffer[] = []
  let waiting: Buffer[] = [] // what the reader has not got, oldest first
  let sent = 0
  const judge = (answer: Buffer, when: string): void => {
    const got = messagesIn(answer).map(({ content }) => nameOf(content))
    const due = waiting.map(nameOf)
    const dueWithLate = [...late, ...waiting].map(nameOf)
    const isAgain = late.length > 0 && got.length === dueWithLate.length
    assert.deepEqual(got, isAgain ? dueWithLate : due, `seed ${seed}, ${when}: all that was due, in order`)
    if (!isAgain) late = []
  }
  for (let round = 0; round < rounds; round++) {
    for (let more = chance.below(3); more > 0 || waiting.length === 0; more--) {
      const content = patterned(12 + chance.pick([0, 4, 1000, 30_000, 300_000, 2_000_000]), sent)
      content.write(`${name}-${sent++}`.padEnd(12).slice(0, 12), 'latin1')
      await stored(world.storage, sender, reader, content)
      waiting.push(content)
    }
    const expected = waiting.reduce((sum, { length }) => sum + 25 + length, 7)
    const began = performance.now()
    const { whole, answer } = await interruptedFetch(world, reader, expected, chance)
    const inTime = performance.now() - began < limits.writeSilenceMs / 2
    if (!whole || answer.toString('hex') === refusal) continue
    judge(answer, `round ${round}`)
    late = inTime ? [] : [...late, ...waiting]
    waiting = []
  }
  const { answer, clean } = await exchange(world.port, fetchRequest(reader))
  assert.equal(clean, true)
  judge(answer, 'in the end')
}

/** The line is fast: a peer that waits for our end is not held for what a slow one would need. */
const limits = { ...watchful, holdMs: 60, slowestBytesPerMs: 100_000, closeMs: 5000, writeSilenceMs: 500 }

const machines: Record<string, Partial<V2Options>> = {
  'on this machine': {},
  'on another machine': { isLocal: () => false },
}

for (const [where, options] of Object.entries(machines))
  suite(`G03 fetches that break, by clients ${where}`, { concurrency: 2 }, () => {
    for (const [kind, open] of Object.entries(storages))
      test(`lose nothing and repeat nothing that was read to its end, on ${kind}`, async () => {
        await using folder = await temporaryFolder()
        await using world = await startV2(await open(folder.path), { limits, ...options })
        const sender = await registered(world.storage, 'sender')
        const first = Number(process.env.SEED ?? 20_240_601)
        const lives = Array.from({ length: 6 }, (_, i) => life(world, sender, `r${i}`, first + i, 20))
        await Promise.all(lives)
        await quiet(world)
      })
  })
