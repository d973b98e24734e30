import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type AccountName, type DeviceId, type Invite, skeletonOf } from '@messageu/protocol/v3'
import type { ObjectChange } from '../../src/archive.ts'
import type { Account } from '../../src/v3/services.ts'
import {
  type DirectoryWorld,
  dayMs,
  kinds,
  nameOf,
  only,
  outcomes,
  reasonOf,
  startDirectory,
} from './directoryworld.ts'
import { newConversationId, newDeviceId, newKey, newServerKey, Person, random } from './person.ts'

const nothing = (): ObjectChange[] => []
const yearMs = 365 * dayMs

/** What has to be the same of an account before and after a restart. */
function remembered({ devices, ...account }: Account) {
  return { ...account, devices: devices.map(({ account: _, ...device }) => device) }
}

function registering(world: DirectoryWorld, person: Person, invite?: Invite): Promise<unknown> {
  return world.directory.register(person.registration(invite), nothing)
}

for (const kind of kinds)
  suite(`registration on ${kind}`, () => {
    test('makes an account with its first device, which a restart does not change', async () => {
      await using world = await startDirectory(kind, { quotaBytes: 12_345 })
      const { person, account, device } = await world.register('alice')
      assert.deepEqual([account.id, device.id], [person.id, person.device.device])
      assert.deepEqual([account.quotaBytes, account.createdAt], [12_345, world.clock.nowMs()])
      assert.deepEqual([account.isAdmin, account.isDisabled, device.isListed], [false, false, true])
      const before = remembered(account)
      await world.restart()
      const after = await world.directory.account(person.id)
      assert.ok(after)
      assert.notEqual(after, account)
      assert.deepEqual(remembered(after), before)
    })

    test('gives one object to whoever asks for an account or a device', async () => {
      await using world = await startDirectory(kind)
      const { person } = await world.register('alice')
      await world.restart()
      const { directory } = world
      const [one, other] = await Promise.all([directory.account(person.id), directory.account(person.id)])
      assert.ok(one)
      assert.equal(other, one)
      const device = only(one.devices)
      assert.equal(device.account, one)
      assert.equal(await directory.device(person.device.device), device)
      assert.equal(await directory.deviceByNumber(device.number), device)
      assert.equal(await directory.accountByNumber(one.number), one)
      assert.equal(await directory.accountByName(one.name), one)
    })

    test('keeps in one step what comes into being with the account', async () => {
      await using world = await startDirectory(kind)
      const person = world.person('alice')
      const key = random(32)
      await world.directory.register(person.registration(), (account, device) => {
        assert.deepEqual([account.id, device.id], [person.id, person.device.device])
        return [{ kind: 'conversation', key, value: account.id }]
      })
      assert.equal(world.archive.steps, 1)
      assert.deepEqual(await world.archive.faulty.get('conversation', key), person.id)
    })

    test('numbers are never given again, also after a restart', async () => {
      await using world = await startDirectory(kind)
      const numbers: number[] = []
      for (const name of ['alice', 'bob', 'carol']) {
        const { account, device } = await world.register(name)
        numbers.push(account.number, 1000 + device.number)
        await world.restart()
      }
      assert.deepEqual(numbers, [1, 1001, 2, 1002, 3, 1003])
      assert.equal(world.numbers.given('account'), 3)
      assert.equal(world.numbers.given('conversation'), 0)
    })

    test('nobody knows whom the directory does not know', async () => {
      await using world = await startDirectory(kind)
      const { directory } = world
      const stranger = world.person('nobody')
      assert.equal(await directory.account(stranger.id), undefined)
      assert.equal(await directory.device(stranger.device.device), undefined)
      assert.equal(await directory.accountByNumber(7), undefined)
      assert.equal(await directory.deviceByNumber(7), undefined)
    })

    test('N06: the same registration again is answered as before, whatever happened since', async () => {
      await using world = await startDirectory(kind, { registration: 'invite' })
      const { invite } = await world.directory.invite({ isAdmin: true })
      const { person, account } = await world.register('alice', invite)
      const again = () => world.directory.register(person.registration(invite), () => assert.fail('nothing is made'))
      assert.deepEqual(await again(), { account, isNew: false })
      await world.directory.append(account, person.adding())
      world.policy.registration = 'closed'
      await world.restart()
      const after = await again()
      assert.deepEqual([after.account.id, after.account.isAdmin, after.isNew], [person.id, true, false])
      assert.equal(after.account.devices.length, 2)
    })

    test('an account that exists takes no other first entry, and no other conversation of its devices', async () => {
      await using world = await startDirectory(kind)
      const { person } = await world.register('alice')
      const other = { ...person.registration(), entry: person.otherFirst() }
      assert.equal(await reasonOf(world.directory.register(other, nothing)), 'not-permitted')
      const elsewhere = { ...person.registration(), ownDevices: newConversationId() }
      assert.equal(await reasonOf(world.directory.register(elsewhere, nothing)), 'not-permitted')
      assert.deepEqual((await world.directory.account(person.id))?.list.hash, person.hash)
    })

    test('C01: an entry for another server, or with a wrong signature, makes nothing', async () => {
      await using world = await startDirectory(kind)
      const alice = world.person('alice')
      const wrong: Record<string, Uint8Array> = {
        'for another server': new Person('alice', newServerKey()).entry,
        'signed by another key': alice.otherFirst({ key: newKey() }),
        'with the device of another account': alice.otherFirst({ device: world.person('bob').device }),
        'not the first': alice.adding(),
      }
      for (const [what, entry] of Object.entries(wrong)) {
        const registration = { ...alice.registration(), entry }
        assert.equal(await reasonOf(world.directory.register(registration, nothing)), 'bad-list', what)
      }
      assert.equal(world.archive.steps, 0)
      await world.register('alice')
    })

    test('S13: an entry with a bit turned, or cut short, makes nothing', async () => {
      await using world = await startDirectory(kind)
      const person = world.person('alice')
      const { entry } = person
      const broken = Array.from({ length: 200 }, (_, i) => {
        const at = Math.floor((i * entry.length) / 200)
        return i % 10 === 0
          ? entry.slice(0, at)
          : entry.map((byte, place) => (place === at ? byte ^ (1 << (i % 8)) : byte))
      })
      for (const each of broken) {
        const registration = { ...person.registration(), entry: each }
        assert.match(await reasonOf(world.directory.register(registration, nothing)), /^(malformed|bad-list|bad-name)$/)
      }
      assert.equal(world.archive.steps, 0)
      await registering(world, person)
    })

    test('C08: a name that looks like one that was given is taken, also after a restart', async () => {
      await using world = await startDirectory(kind)
      await world.register('paypal')
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        for (const twin of ['paypal', 'PayPal', 'pay-pal', 'PAYPA1', 'раураӏ', 'pàypal'])
          assert.equal(await reasonOf(world.register(twin)), 'name-taken', twin)
      }
      await world.register('paypam')
    })

    test('C08: of names that look alike and come at once, one is given', async () => {
      await using world = await startDirectory(kind)
      const names = ['Corner', 'corner', 'comer', 'c0rner', 'co-rner']
      assert.equal(new Set(names.map((name) => skeletonOf(name as AccountName))).size, 1)
      const won = await outcomes(names.map((name) => registering(world, world.person(name))))
      assert.deepEqual(won, { 'not refused': 1, 'name-taken': 4 })
    })

    test('of twenty that register the same account at once, one makes it and all have it', async () => {
      await using world = await startDirectory(kind)
      const person = world.person('alice')
      const attempts = Array.from({ length: 20 }, () => world.directory.register(person.registration(), nothing))
      const registered = await Promise.all(attempts)
      assert.equal(registered.filter(({ isNew }) => isNew).length, 1)
      assert.equal(new Set(registered.map(({ account }) => account)).size, 1)
      assert.equal(world.archive.steps, 1)
    })

    test('an id of a device belongs to one account of the whole server', async () => {
      await using world = await startDirectory(kind)
      const device: DeviceId = newDeviceId()
      const rivals = Array.from({ length: 20 }, (_, i) => new Person(nameOf(i), world.serverKey, device))
      const won = await outcomes(rivals.map((rival) => registering(world, rival)))
      assert.deepEqual(won, { 'not refused': 1, 'bad-list': 19 })
      await world.restart()
      assert.equal(await reasonOf(registering(world, new Person('latecomer', world.serverKey, device))), 'bad-list')
    })

    test('an id of a conversation is used once', async () => {
      await using world = await startDirectory(kind)
      const { directory } = world
      const ownDevices = newConversationId()
      const register = (name: string): Promise<unknown> =>
        directory.register({ ...world.person(name).registration(), ownDevices }, (account) => [
          { kind: 'conversation', key: ownDevices, value: account.id },
        ])
      const won = await outcomes([register('alice'), register('bob'), register('carol')])
      assert.deepEqual(won, { 'not refused': 1, 'conversation-exists': 2 })
    })

    test('what a failed step had claimed is free again', async () => {
      await using world = await startDirectory(kind, { registration: 'invite' })
      const { invite } = await world.directory.invite({ isAdmin: false })
      const alice = world.person('alice')
      world.archive.failNext()
      assert.equal(await reasonOf(registering(world, alice, invite)), 'storage-full')
      assert.equal(await world.directory.account(alice.id), undefined)
      assert.equal(await world.directory.device(alice.device.device), undefined)
      await registering(world, world.person('Alice'), invite)
    })

    test('whoever waits for the outcome of a registration that fails gets what it wanted', async () => {
      await using world = await startDirectory(kind)
      const disk = world.archive.hold()
      world.archive.failNext()
      const first = reasonOf(registering(world, world.person('alice')))
      const second = reasonOf(registering(world, world.person('alice')))
      disk[Symbol.dispose]()
      assert.deepEqual([await first, await second], ['storage-full', 'not refused'])
    })

    test('nobody sees an account before it is durable', async () => {
      await using world = await startDirectory(kind)
      const person = world.person('alice')
      const disk = world.archive.hold()
      const registered = registering(world, person)
      while (world.archive.steps === 0) await new Promise(setImmediate)
      assert.equal(await world.directory.account(person.id), undefined)
      assert.equal(await world.directory.accountByName('alice' as AccountName), undefined)
      disk[Symbol.dispose]()
      await registered
      assert.ok(await world.directory.account(person.id))
    })

    test('an account that is found before its registration is answered is the one that is answered', async () => {
      await using world = await startDirectory(kind)
      const person = world.person('alice')
      const disk = world.archive.holdAnswers()
      const made: Account[] = []
      const registered = world.directory.register(person.registration(), (account) => {
        made.push(account)
        return []
      })
      let found: Account | undefined
      while (found === undefined) found = await world.directory.account(person.id)
      disk[Symbol.dispose]()
      assert.deepEqual([found === made[0], found === (await registered).account], [true, true])
    })
  })

for (const kind of kinds)
  suite(`invites on ${kind}`, () => {
    test('nobody comes in without one where one is needed, and nobody at all where it is closed', async () => {
      await using world = await startDirectory(kind, { registration: 'invite' })
      const { invite } = await world.directory.invite({ isAdmin: false })
      assert.equal(await reasonOf(world.register('alice')), 'bad-invite')
      assert.equal(await reasonOf(world.register('alice', random(16) as Invite)), 'bad-invite')
      world.policy.registration = 'closed'
      assert.equal(await reasonOf(world.register('alice', invite)), 'registration-closed')
      world.policy.registration = 'invite'
      await world.register('alice', invite)
    })

    test('an administrator comes from an invite for one, and from nothing else', async () => {
      await using world = await startDirectory(kind)
      const first = await world.register('first')
      const { invite } = await world.directory.invite({ isAdmin: true })
      const { invite: plain } = await world.directory.invite({ isAdmin: false })
      const admin = await world.register('admin', invite)
      const invited = await world.register('invited', plain)
      assert.deepEqual(
        [first, admin, invited].map(({ account }) => account.isAdmin),
        [false, true, false],
      )
      await world.restart()
      assert.equal((await world.directory.account(admin.person.id))?.isAdmin, true)
    })

    test('one lets one person in, of however many who come with it at once', async () => {
      await using world = await startDirectory(kind, { registration: 'invite' })
      const { invite } = await world.directory.invite({ isAdmin: true })
      const people = Array.from({ length: 20 }, (_, i) => world.person(nameOf(i)))
      const won = await outcomes(people.map((person) => registering(world, person, invite)))
      assert.deepEqual(won, { 'not refused': 1, 'bad-invite': 19 })
      await world.restart()
      assert.equal(await reasonOf(world.register('latecomer', invite)), 'bad-invite')
    })

    test('a bad one is refused also where none is needed', async () => {
      await using world = await startDirectory(kind)
      assert.equal(await reasonOf(world.register('alice', random(16) as Invite)), 'bad-invite')
    })

    test('what is stored lets nobody in', async () => {
      await using world = await startDirectory(kind)
      const { invite } = await world.directory.invite({ isAdmin: true })
      const rows = await world.archive.faulty.scan('invite', { prefix: new Uint8Array(0), limit: 10 })
      const { key, value } = only(rows)
      assert.equal(Buffer.concat([key, value]).includes(Buffer.from(invite)), false)
    })

    test('one is good for seven days, not longer', async () => {
      await using world = await startDirectory(kind)
      const { invite, notAfter } = await world.directory.invite({ isAdmin: false })
      assert.equal(notAfter, world.clock.nowMs() + 7 * dayMs)
      const other = await world.directory.invite({ isAdmin: false })
      world.clock.pass(7 * dayMs - 1)
      await world.register('alice', invite)
      world.clock.pass(1)
      assert.equal(await reasonOf(world.register('bob', other.invite)), 'bad-invite')
      await world.restart()
      assert.equal(await reasonOf(world.register('bob', other.invite)), 'bad-invite')
    })

    test('old ones are forgotten as new ones are made', async () => {
      await using world = await startDirectory(kind)
      for (let i = 0; i < 10; i++) await world.directory.invite({ isAdmin: false })
      world.clock.pass(8 * dayMs)
      await world.directory.invite({ isAdmin: false })
      assert.equal((await world.archive.faulty.scan('invite', { prefix: new Uint8Array(0), limit: 100 })).length, 1)
    })

    test('K10: a clock that is set does not end one early', async () => {
      await using world = await startDirectory(kind)
      for (const [i, jumpMs] of [
        -10 * yearMs,
        10 * yearMs,
        10 * yearMs,
        -10 * yearMs,
        3_600_000,
        -3_600_000,
      ].entries()) {
        const { invite } = await world.directory.invite({ isAdmin: false })
        world.clock.jump(jumpMs)
        world.clock.pass(6 * dayMs)
        await world.register(nameOf(i), invite)
      }
    })
  })
