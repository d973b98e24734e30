import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { openMemory } from '../../src/storage/memory.ts'
import type { Client } from '../../src/storage.ts'
import { registered, startV2, storages, temporaryFolder, type V2World } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  codes,
  eventually,
  exchange,
  fetchAll,
  fetchRequest,
  header,
  keyRequest,
  listRequest,
  Peer,
  quiet,
  reasonsOf,
  refusal,
  registerRequest,
  sendRequest,
  short,
} from './peer.ts'
import { type Dice, dice } from './random.ts'

/** One good request of each kind; each registration under a name of its own. */
function goodRequests(alice: Client, bob: Client, name: string): Record<string, Buffer> {
  return {
    register: registerRequest(name, Buffer.alloc(160, 1)),
    list: listRequest(alice),
    key: keyRequest(alice.id, bob.id),
    text: sendRequest({ from: alice.login, to: bob.id, content: Buffer.from('hello world') }),
    file: sendRequest({ from: alice.login, to: bob.id, type: 4, content: Buffer.alloc(70_000, 3) }),
    fetch: fetchRequest(bob),
  }
}

function mutated(request: Buffer, other: Buffer, chance: Dice): Buffer {
  const copy = Buffer.from(request)
  const at = chance.below(Math.min(copy.length, 60)) // most of what can go wrong stands in front
  switch (chance.below(6)) {
    case 0:
      copy[at] = (copy[at] as number) ^ (1 << chance.below(8))
      return copy
    case 1:
      return Buffer.concat([
        copy.subarray(0, at),
        Buffer.alloc(1 + chance.below(4), chance.below(256)),
        copy.subarray(at),
      ])
    case 2:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + chance.below(4))])
    case 3:
      return Buffer.concat([copy.subarray(0, at), other.subarray(chance.below(other.length))])
    case 4:
      copy.writeUInt32LE(
        chance.pick([0, 1, 20, 21, 2 ** 16, 2 ** 30, 2 ** 30 + 1, 2 ** 31, 2 ** 32 - 1]),
        chance.pick([18, 18, 18]),
      )
      return copy
    default:
      return Buffer.from(Array.from({ length: chance.below(600) }, () => chance.below(256)))
  }
}

/** The most that this thread computed in one turn of the event loop, in milliseconds: what others had to wait for. */
async function longestTurnOf(work: Promise<unknown>): Promise<number> {
  const over = new AbortController()
  const ended = work.finally(() => over.abort())
  const computed = (): number => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1000
  }
  let longest = 0
  for (let before = computed(); !over.signal.aborted; ) {
    await setImmediate()
    const now = computed()
    longest = Math.max(longest, now - before)
    before = now
  }
  await ended
  return longest
}

test('W01 I6 mutated requests end with an answer or the error; nothing stalls, and the server goes on', async () => {
  const clock = new HandClock()
  const limits = { ...short, drainSilenceMs: 1000 }
  await using world = await startV2(openMemory(), { limits, nowMs: clock.nowMs })
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  const seed = Number(process.env.SEED ?? 7)
  let number = 0
  const attack = async (chance: Dice): Promise<void> => {
    for (let i = 0; i < 60; i++) {
      const requests = Object.values(goodRequests(alice, bob, `name ${number++}`))
      const bytes = mutated(chance.pick(requests), chance.pick(requests), chance)
      using peer = await Peer.dial(world.port)
      peer.write(bytes)
      if (chance.below(2) === 0) peer.socket.end()
      const { answer, clean } = await peer.finish()
      assert.ok(
        clean && answer.length >= 7,
        `seed ${seed}: ${bytes.toString('hex', 0, 80)}: ${answer.toString('hex', 0, 40)}`,
      )
      assert.match(answer.toString('hex', 0, 3), /^02(2823|e803|e903|ea03|eb03|ec03)$/)
    }
  }
  // the same bytes three times: what takes long once and not again was the collector of garbage
  const turns: number[] = []
  for (let round = 0; round < 3; round++) {
    const attacks = Promise.all(Array.from({ length: 8 }, (_, i) => attack(dice(seed + i))))
    turns.push(await clock.during(longestTurnOf(attacks)))
  }
  assert.ok(Math.min(...turns) < 50, `the longest turns took ${turns.join(', ')} ms`)
  await quiet(world)
  assert.equal(reasonsOf(world).includes('internal'), false)
  assert.equal((await exchange(world.port, keyRequest(alice.id, bob.id))).answer.length, 183)
})

for (const [kind, open] of Object.entries(storages))
  test(`W02 every request cut at every place is refused and leaves nothing, on ${kind}`, async () => {
    await using folder = await temporaryFolder()
    await using world = await startV2(await open(folder.path))
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    const before = world.storage.figures()
    for (const [kindOfRequest, request] of Object.entries(goodRequests(alice, bob, 'carol'))) {
      const places = request.length > 1000 ? [0, 21, 22, 42, 43, 44, 65_579, request.length - 1] : [...request.keys()]
      for (let from = 0; from < places.length; from += 40)
        await Promise.all(
          places.slice(from, from + 40).map(async (place) => {
            const { answer, clean } = await exchange(world.port, request.subarray(0, place), { halfClose: true })
            const got = { answer: answer.toString('hex'), clean }
            assert.deepEqual(got, { answer: refusal, clean: true }, `${kindOfRequest} cut after ${place} bytes`)
          }),
        )
    }
    await quiet(world)
    assert.deepEqual(world.storage.figures(), before)
  })

test('W02 every request cut at every place waits for more, and is refused when its time is over', async () => {
  const clock = new HandClock()
  await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  const cuts = Object.values(goodRequests(alice, bob, 'carol')).flatMap((request) =>
    [...request.subarray(0, 64).keys()]
      .filter((place) => place < request.length)
      .map((place) => request.subarray(0, place)),
  )
  const peers = await Promise.all(cuts.map(() => Peer.dial(world.port)))
  peers.forEach((peer, i) => {
    peer.write(cuts[i] as Uint8Array)
  })
  await eventually('all are here', () => world.listener.connections === cuts.length)
  await clock.pass(short.headMs - 5)
  assert.equal(peers.filter(({ got }) => got > 0).length, 0, 'nobody is refused early')
  await clock.until('all are refused', () => peers.every(({ got }) => got > 0))
  const outcomes = await Promise.all(peers.map((peer) => peer.finish()))
  assert.ok(outcomes.every(({ answer, clean }) => clean && answer.toString('hex') === refusal))
  assert.deepEqual(new Set(reasonsOf(world)), new Set(['timeout']))
})

suite('W03 a length that is announced', () => {
  const lengths = [
    0,
    1,
    15,
    16,
    17,
    20,
    21,
    414,
    415,
    416,
    65_536,
    2 ** 30 - 21,
    2 ** 30,
    2 ** 30 + 1,
    2 ** 31,
    2 ** 32 - 1,
  ]

  /** So many connections that have each announced a large content and sent nothing of it. */
  async function announcements(world: V2World, count: number, contentBytes: number): Promise<Peer[]> {
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    const request = sendRequest({ from: alice.login, to: bob.id, contentBytes })
    const peers = await Promise.all(Array.from({ length: count }, () => Peer.dial(world.port)))
    for (const peer of peers) peer.write(request)
    return peers
  }

  test('and does not belong to its request is refused at the header', async () => {
    await using world = await startV2(openMemory())
    const alice = await registered(world.storage, 'alice')
    for (const [name, right] of [
      ['register', 415],
      ['list', 0],
      ['key', 16],
      ['fetch', 0],
    ] as const)
      for (const bytes of lengths.filter((each) => each !== right)) {
        const { answer, clean } = await exchange(world.port, header(alice.id, codes[name], bytes))
        assert.deepEqual(
          { answer: answer.toString('hex'), clean },
          { answer: refusal, clean: true },
          `${name}: ${bytes}`,
        )
      }
  })

  test('and does not fit the payload around it is refused before the content', async () => {
    await using world = await startV2(openMemory())
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    for (const payloadBytes of [21, 22, 2 ** 30])
      for (const contentBytes of lengths.filter((each) => each + 21 !== payloadBytes)) {
        const request = sendRequest({ from: alice.login, to: bob.id, payloadBytes, contentBytes })
        assert.equal((await exchange(world.port, request)).answer.toString('hex'), refusal)
      }
  })

  test('takes no memory before its bytes are here', async () => {
    await using folder = await temporaryFolder()
    const open = storages.sqlite as NonNullable<(typeof storages)['sqlite']>
    await using world = await startV2(await open(folder.path))
    const { arrayBuffers } = process.memoryUsage()
    const peers = await announcements(world, 100, 2 ** 30 - 21)
    await fetchAll(world, await registered(world.storage, 'carol')) // all of them were looked at meanwhile
    const grown = process.memoryUsage().arrayBuffers - arrayBuffers
    for (const peer of peers) peer.socket.destroy()
    await quiet(world)
    assert.ok(grown < 2 ** 20, `${grown} bytes for 100 announcements of 1 GiB`)
  })
})
