import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { befriend, Household, type Resident } from './household.ts'

/** Shown somewhere that was not meant to be read by anybody but the members. */
const unopened = ({ shown }: Resident): number => shown.filter(({ kind }) => kind === 'unopened').length

test('I1, I2, I3: what is said while somebody is away is there once, in order, when they return', async () => {
  await using house = await Household.start()
  const [alice, bob] = await house.pair()
  await bob[Symbol.asyncDispose]()
  for (let i = 1; i <= 20; i++) await alice.say('bob', `${i}`)
  const again = await house.open({ profile: 'bob', words: bob.words })
  await again.hears('20')
  const numbers = Array.from({ length: 20 }, (_, i) => `${i + 1}`)
  assert.deepEqual(again.heard, numbers, 'nothing that was shown before is shown again')
  assert.deepEqual(await again.texts('alice'), ['alice greets', 'bob greets back', ...numbers])
})

test('two people with two devices each read the same, in the same order, on all four', async () => {
  await using house = await Household.start()
  const [alice, bob] = await house.pair()
  const [tablet, laptop] = [await house.second(alice, 'alice-tablet'), await house.second(bob, 'bob-laptop')]
  const everybody = [alice, bob, tablet, laptop]
  const names = ['bob', 'alice', 'bob', 'alice']
  await Promise.all(everybody.map((device, i) => device.say(names[i] ?? '', `from ${device.profile}`)))
  const said = everybody.map(({ profile }) => `from ${profile}`)
  for (const [i, device] of everybody.entries()) await device.hears(...said.filter((_, j) => j !== i))
  const first = await alice.texts('bob')
  assert.deepEqual(first.toSorted(), [...said, 'alice greets', 'bob greets back'].toSorted())
  // the past came with the devices
  for (const [i, device] of everybody.entries()) assert.deepEqual(await device.texts(names[i] ?? ''), first)
  assert.equal(
    everybody.reduce((sum, device) => sum + unopened(device), 0),
    0,
  )
})

test('a device that was taken off opens nothing that is said later, on no conversation', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  const laptop = await house.second(bob, 'bob-laptop')
  await alice.client.createGroup('Club', ['bob'], { signal })
  await alice.say('#Club', 'all of us')
  await laptop.hears('all of us')
  await bob.client.dropDevice(laptop.client.account.identity.device, { signal })
  await alice.say('#Club', 'without the laptop')
  await alice.say('bob', 'nor here')
  await bob.hears('without the laptop', 'nor here')
  assert.equal(laptop.client.session.phase.phase, 'ended')
  assert.ok(!laptop.heard.some((text) => text === 'without the laptop' || text === 'nor here'))
  const told = alice.shown.filter((each) => each.kind === 'told' && each.told.kind === 'devices')
  assert.equal(told.length, 2, 'that it came and that it went was told to those who write to it')
  const own = bob.shown.filter((each) => each.kind === 'told' && each.told.kind === 'devices')
  assert.equal(own.length, 2, 'and once each to its owner')
})

test('the life of a group: made, named, joined, written in, left, and closed to those who are out', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  const carol = await house.person('carol')
  await befriend(alice, carol)
  const { absent } = await alice.client.createGroup('Club', ['bob'], { signal })
  assert.deepEqual(absent, [])
  await bob.until(() => bob.shown.some(({ kind }) => kind === 'joined'), 'the group')
  await alice.say('#Club', 'before carol')
  await bob.hears('before carol')
  await assert.rejects(bob.client.addPeople('#Club', ['carol'], { signal }), { reason: 'forbidden' })
  await alice.client.addPeople('#Club', ['carol'], { signal })
  await alice.client.rename('#Club', 'Chess', { signal })
  await carol.until(
    () => carol.shown.some((each) => each.kind === 'message' && each.content.kind === 'title'),
    'a title',
  )
  await carol.say('#Chess', 'hello all')
  await Promise.all([alice.hears('hello all'), bob.hears('hello all')])
  assert.ok(!carol.heard.includes('before carol'), 'what was said before she came is not for her')
  await alice.client.removePeople('#Chess', ['bob'], { signal })
  await bob.until(() => bob.shown.some((each) => each.kind === 'change' && each.left.length > 0), 'the removal')
  await alice.say('#Chess', 'among us')
  await carol.hears('among us')
  await assert.rejects(bob.say('#Chess', 'let me in'), { reason: 'not-a-member' })
  assert.ok(!bob.heard.includes('among us'))
  await carol.client.leave('#Chess', { signal })
  await assert.rejects(carol.say('#Chess', 'gone'), { reason: 'not-a-member' })
  await alice.until(
    () => alice.shown.some((each) => each.kind === 'message' && each.content.kind === 'leave'),
    'a farewell',
  )
})

test('who was away while others went on takes the place that was given, and reads what was said since', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  const carol = await house.person('carol')
  await befriend(alice, carol)
  await bob[Symbol.asyncDispose]()
  await alice.client.createGroup('Club', ['bob'], { signal })
  await alice.say('#Club', 'for the two of us')
  await alice.client.addPeople('#Club', ['carol'], { signal })
  const again = await house.open({ profile: 'bob', words: bob.words })
  await again.hears('for the two of us')
  await alice.say('#Club', 'all here')
  await again.hears('all here')
  const isSetBack = again.shown.some(({ kind }) => kind === 'unopened' || kind === 'gap')
  assert.ok(!isSetBack, 'everything could be opened')
})

test('I1: who was brought in and taken out while away reads what was said in between', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  await bob[Symbol.asyncDispose]()
  await alice.client.createGroup('Club', ['bob'], { signal })
  await alice.say('#Club', 'for the two of us')
  await alice.client.removePeople('#Club', ['bob'], { signal })
  await alice.say('#Club', 'for me alone')
  const again = await house.open({ profile: 'bob', words: bob.words })
  await again.hears('for the two of us')
  assert.equal((await again.client.conversation('#Club')).standing, 'removed')
  assert.ok(!again.shown.some(({ kind }) => kind === 'unopened' || kind === 'gap'), 'everything could be opened')
})

test('a laptop is lost: the words bring the account back, and what is written from then on', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  await bob[Symbol.asyncDispose]()
  const back = await house.recovered(bob, 'bob-new')
  await back.until(() => back.shown.some((each) => each.kind === 'told' && each.told.kind === 'rejoined'), 'its place')
  await alice.say('bob', 'is it you?')
  await back.hears('is it you?')
  await back.say('alice', 'it is')
  await alice.hears('it is')
  assert.ok(
    alice.shown.some((each) => each.kind === 'told' && each.told.kind === 'devices'),
    'alice is told',
  )
  const before = await alice.client.safetyWith('bob', { signal })
  assert.equal((await back.client.safetyWith('alice', { signal })).digits, before.digits)
  assert.ok(!(await back.texts('alice')).includes('alice greets'), 'nobody had what was said before')
})

test('I1, I2, I3: a server that is killed under load loses nothing, repeats nothing and keeps one order', async () => {
  await using house = await Household.start()
  const { signal } = house
  const [alice, bob] = await house.pair()
  const sending = [alice, bob].map(async (device) => {
    const who = device === alice ? 'bob' : 'alice'
    const outcomes = []
    for (let i = 0; i < 60; i++)
      outcomes.push(await device.client.post(who, { kind: 'text', body: { text: `${device.name} ${i}` } }, { signal }))
    for (const { outcome } of outcomes) assert.equal((await outcome).kind, 'accepted')
  })
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setTimeout(resolve, 150))
    await house.killServer()
    await house.startServer()
  }
  await Promise.all(sending)
  await alice.hears('bob 59')
  await bob.hears('alice 59')
  const [first, second] = [await alice.texts('bob'), await bob.texts('alice')]
  assert.deepEqual(second, first)
  for (const name of ['alice', 'bob']) {
    const own = first.filter((text) => text.startsWith(`${name} `) && !text.includes('greets'))
    assert.deepEqual(
      own,
      Array.from({ length: 60 }, (_, i) => `${name} ${i}`),
    )
  }
})

test('I4: neither texts nor titles nor keys are found on the disk of the server, in its log or its metrics', async () => {
  await using house = await Household.start()
  const { signal } = house
  const canary = 'canary-5f0c2b7e91'
  const [alice, bob] = await house.pair()
  await alice.client.createGroup(`${canary}-title`, ['bob'], { signal })
  await alice.say(`#${canary}-title`, `${canary}-text`)
  await bob.hears(`${canary}-text`)
  const secrets = [alice, bob].flatMap(({ client: { account } }) => {
    const { signatureSeed, requestSeed, managerSeed } = account.identity
    return [signatureSeed, requestSeed, managerSeed].flatMap((seed) => seed?.reveal() ?? [])
  })
  const needles = [Buffer.from(canary), Buffer.from(canary, 'utf16le'), ...secrets.map((secret) => Buffer.from(secret))]
  const texts = needles.flatMap((needle) => [
    needle,
    Buffer.from(needle.toString('hex')),
    Buffer.from(needle.toString('base64').slice(0, -4)),
  ])
  const log = Buffer.from(house.server.run.err)
  const folder = house.folderOf('server')
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  assert.ok(files.some(({ name }) => name === 'server.db'))
  for (const needle of texts) {
    assert.ok(!log.includes(needle))
    for (const { parentPath, name } of files)
      assert.ok(
        !(await readFile(path.join(parentPath, name))).includes(needle),
        `${name} has what only members may read`,
      )
  }
})
