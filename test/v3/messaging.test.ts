import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome } from '@messageu/client'
import type { ConversationId, DeviceId } from '@messageu/protocol/v3'
import type { Device } from './device.ts'
import { assertOneOrder, conversationOf, textsOf, World } from './world.ts'

const kills = 5

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

test('I1, I2: what is said while a device is away arrives once, in order, when it returns', async () => {
  await using world = await World.start()
  const alice = await world.person('alice')
  const bob = await world.person('bob')
  const conversation = await conversationOf(alice, bob)
  await bob[Symbol.asyncDispose]()
  const said = await Promise.all(numbers(20).map((i) => alice.say(conversation, `alice ${i}`, { epoch: 1 })))
  for (const { outcome } of said) assert.equal((await outcome).kind, 'accepted')

  const back = await world.open({ folder: world.folderOf('bob') })
  assert.deepEqual(
    await back.hears(20),
    numbers(20).map((i) => `alice ${i}`),
  )
  await back[Symbol.asyncDispose]()
  const again = await world.open({ folder: world.folderOf('bob') })
  await alice.say(conversation, 'alice 20', { epoch: 1 })
  assert.equal((await again.hears(21)).length, 21, 'what was acknowledged does not come again')
  assertOneOrder(new Map([['bob', await again.heard()]]))
})

test('C13: of two commits for one epoch exactly one wins, and everybody sees the same one at the same place', async () => {
  await using world = await World.start()
  const devices = [
    await world.person('alice'),
    await world.person('bob'),
    await world.person('carol'),
    await world.person('dave'),
  ]
  const conversation = await conversationOf(...devices)
  const roster = devices.map(({ id }) => id)
  const rounds = 5
  let epoch = 1
  for (let round = 0; round < rounds; round++) {
    const outcomes = await Promise.all(
      devices.map((device, i) => device.commit(conversation, epoch, roster, `device ${i} round ${round}`)),
    )
    assert.deepEqual(outcomes.map(reasonOf).sort(), ['accepted', 'stale-epoch', 'stale-epoch', 'stale-epoch'])
    epoch += 1
  }
  for (const device of devices) await untilCommits(device, rounds)
  const seen = await Promise.all(devices.map((device) => commitsOf(device)))
  for (const commits of seen) assert.deepEqual(commits.slice(-rounds), seen[0]?.slice(-rounds))
})

test('I1, I2, I3: a server that is killed under load again and again loses nothing, repeats nothing and keeps one order', async () => {
  await using world = await World.start()
  const names = ['alice', 'bob', 'carol'] as const
  const devices = new Map<string, Device>()
  for (const name of names) devices.set(name, await world.person(name))
  const conversation = await conversationOf(...devices.values())
  const each = 150
  const saying = [...devices].map(([name, device]) => sayAll(device, conversation, name, each))
  const killing = (async () => {
    for (const _ of numbers(kills)) {
      await sleep(300 + Math.random() * 300)
      await world.killServer()
      await world.startServer()
    }
  })()
  const outcomes = (await Promise.all(saying)).flat()
  await killing
  assert.deepEqual([...new Set(outcomes.map(reasonOf))], ['accepted'])

  const heard = new Map<string, Awaited<ReturnType<Device['heard']>>>()
  for (const [name, device] of devices) {
    await device.hears(each * (names.length - 1))
    heard.set(name, await device.heard())
  }
  assertOneOrder(heard)
  for (const [listener, all] of heard)
    for (const speaker of names)
      assert.deepEqual(
        textsOf(all, speaker),
        speaker === listener ? [] : numbers(each).map((i) => `${speaker} ${i}`),
        `${listener} hears everything that ${speaker} said, in order`,
      )
})

test('a device that is taken off the roster hears nothing that is said later, and one that is added nothing earlier', async () => {
  await using world = await World.start()
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const conversation = await conversationOf(alice, bob)
  await said(alice, conversation, 'alice 0', 1)
  const commit = (epoch: number, roster: readonly DeviceId[]): Promise<Outcome> =>
    alice.commit(conversation, epoch, roster)
  assert.equal((await commit(1, [alice.id, bob.id, carol.id])).kind, 'accepted')
  await said(alice, conversation, 'alice 1', 2)
  assert.equal((await commit(2, [alice.id, carol.id])).kind, 'accepted')
  await said(alice, conversation, 'alice 2', 3)
  assert.deepEqual(await carol.hears(2), ['alice 1', 'alice 2'])
  assert.deepEqual(await bob.hears(2), ['alice 0', 'alice 1'])
  const refused = await (await bob.say(conversation, 'bob 0', { epoch: 2 })).outcome
  assert.equal(reasonOf(refused), 'not-permitted')
})

async function said(device: Device, conversation: ConversationId, words: string, epoch: number): Promise<void> {
  const { outcome } = await device.say(conversation, words, { epoch })
  assert.equal((await outcome).kind, 'accepted')
}

async function sayAll(device: Device, conversation: ConversationId, name: string, count: number): Promise<Outcome[]> {
  const outcomes: Promise<Outcome>[] = []
  for (const i of numbers(count)) outcomes.push((await device.say(conversation, `${name} ${i}`, { epoch: 1 })).outcome)
  return Promise.all(outcomes)
}

function reasonOf(outcome: Outcome): string {
  return outcome.kind === 'accepted' ? 'accepted' : outcome.error.reason
}

async function commitsOf(device: Device): Promise<string[]> {
  return (await device.heard())
    .filter(({ kind }) => kind === 'commit')
    .map(({ sequence, text }) => `${sequence} ${text}`)
}

async function untilCommits(device: Device, count: number): Promise<void> {
  while ((await commitsOf(device)).length < count) await sleep(20)
}
