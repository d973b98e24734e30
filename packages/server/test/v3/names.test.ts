import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type AccountName, limits } from '@messageu/protocol/v3'
import { accounts } from '../../src/v3/operations/accounts.ts'
import { find } from '../../src/v3/operations/find.ts'
import { invite } from '../../src/v3/operations/invite.ts'
import { people } from '../../src/v3/operations/people.ts'
import { setAccount } from '../../src/v3/operations/set-account.ts'
import { personOf } from '../../src/v3/person.ts'
import type { Account, Device, Services } from '../../src/v3/services.ts'
import { type DirectoryWorld, kinds, nameOf, reasonOf, sessionOf, startDirectory } from './directoryworld.ts'

const name = (text: string): AccountName => text as AccountName

async function crowd(world: DirectoryWorld, count: number): Promise<Account[]> {
  const registered = await Promise.all(Array.from({ length: count }, (_, i) => world.register(nameOf(i))))
  return registered.map(({ account }) => account)
}

/** All names that page after page shows. */
async function listed(services: Services, device: Device): Promise<string[]> {
  const names: string[] = []
  for (;;) {
    const page = await people(services, sessionOf(device), {
      after: names.length === 0 ? undefined : name(names.at(-1) ?? ''),
    })
    names.push(...page.people.map((person) => person.name))
    if (page.isLast) return names
    assert.equal(page.people.length, limits.pageMax)
  }
}

for (const kind of kinds)
  suite(`names on ${kind}`, () => {
    test('accounts are listed in the order of the bytes of their names', async () => {
      await using world = await startDirectory(kind)
      const names = ['zoe', 'Zoltan', 'bob', 'éva', 'Ада', '𠮷田', '吉田さん', 'anna']
      for (const each of names) await world.register(each)
      await world.restart()
      const inOrder = names.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
      const found = await world.directory.accountsAfter(undefined, 100)
      assert.deepEqual(
        found.map((account) => account.name),
        inOrder,
      )
      const some = await world.directory.accountsAfter(name('bob'), 2)
      assert.deepEqual(
        some.map((account) => account.name),
        ['zoe', 'éva'],
      )
    })

    test('find knows exact names only, and no look-alike', async () => {
      await using world = await startDirectory(kind)
      const { device } = await world.register('alice')
      const { account: bob } = await world.register('bob')
      const look = async (text: string) => find(world.services(), sessionOf(device), { after: name(text) })
      assert.deepEqual(await look('bob'), personOf(bob))
      assert.deepEqual(await look('alice'), personOf(device.account))
      for (const other of ['Bob', 'b0b', 'bo', 'bobby']) assert.equal(await look(other), undefined, other)
      const nobody = async () => find(world.services(), sessionOf(device), { after: undefined })
      assert.equal(await reasonOf(nobody()), 'malformed')
    })

    test('with a directory, people shows everybody but oneself, those who are disabled and those who ended', async () => {
      await using world = await startDirectory(kind)
      const others = await crowd(world, 230)
      const { device } = await world.register('pmm me')
      const ended = await world.register('pa ended')
      const close = ended.person.next({ kind: 'close', body: undefined }, 'account')
      await world.directory.append(ended.account, close)
      const disabled = others.filter((_, i) => i < 150 && i % 50 !== 0)
      await Promise.all(disabled.map((account) => world.directory.set(account, { isDisabled: true })))
      await world.restart()
      const me = await world.directory.device(device.id)
      assert.ok(me)
      const expected = others.filter((account) => !disabled.includes(account)).map((account) => account.name)
      assert.deepEqual(await listed(world.services(), me), expected)
      const found = await find(world.services(), sessionOf(me), { after: disabled[0]?.name })
      assert.equal(found, undefined)
    })

    test('a page is full although most are passed over, and the last one says so', async () => {
      await using world = await startDirectory(kind)
      const others = await crowd(world, 220)
      const { device } = await world.register('pmm me')
      await Promise.all(others.slice(0, 119).map((account) => world.directory.set(account, { isDisabled: true })))
      const first = await people(world.services(), sessionOf(device), { after: undefined })
      assert.deepEqual([first.people.length, first.isLast, first.isDirectory], [100, false, true])
      const second = await people(world.services(), sessionOf(device), { after: first.people.at(-1)?.name })
      assert.deepEqual([second.people.map((person) => person.name), second.isLast], [[nameOf(219)], true])
    })

    test('without a directory, people shows those one shares a conversation with', async () => {
      await using world = await startDirectory(kind, { directory: false })
      const others = await crowd(world, 120)
      const { account, device } = await world.register('me')
      const acquaintances = [account, ...others.slice(0, 105).toReversed()]
      const services = world.services({
        acquaintances: async (of) => (of === account ? acquaintances : assert.fail('somebody else was asked for')),
      })
      assert.deepEqual(
        await listed(services, device),
        others.slice(0, 105).map((other) => other.name),
      )
      const first = await people(services, sessionOf(device), { after: undefined })
      assert.deepEqual([first.isDirectory, first.isLast], [false, false])
      assert.deepEqual(await listed(world.services(), device), [])
    })
  })

for (const kind of kinds)
  suite(`administration on ${kind}`, () => {
    test('quota and disabling are kept, and a disabled account is told of', async () => {
      await using world = await startDirectory(kind)
      const { device: admin } = await world.register('admin')
      const { person, account } = await world.register('alice')
      const session = sessionOf(admin)
      await setAccount(world.services(), session, { kind: 'quota', body: { account: person.id, bytes: 77 } })
      assert.deepEqual([account.quotaBytes, world.told], [77, []])
      await setAccount(world.services(), session, { kind: 'disabled', body: { account: person.id, isDisabled: true } })
      assert.deepEqual(world.told, [{ account, delisted: [] }])
      assert.equal(account.isDisabled, true)
      await world.restart()
      const after = await world.directory.account(person.id)
      assert.deepEqual([after?.quotaBytes, after?.isDisabled], [77, true])
      await setAccount(world.services(), session, { kind: 'disabled', body: { account: person.id, isDisabled: false } })
      assert.deepEqual([after?.quotaBytes, after?.isDisabled, world.told.length], [77, false, 1])
    })

    test('what an entry and an administrator change at the same time are both kept', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      await Promise.all([
        world.directory.set(account, { quotaBytes: 5 }),
        world.directory.append(account, person.adding()),
        world.directory.set(account, { isDisabled: true }),
      ])
      await world.restart()
      const after = await world.directory.account(person.id)
      assert.deepEqual([after?.quotaBytes, after?.isDisabled, after?.list.version], [5, true, 2])
    })

    test('a setting whose step fails has not happened', async () => {
      await using world = await startDirectory(kind)
      const { account } = await world.register('alice')
      world.archive.failNext()
      assert.equal(await reasonOf(world.directory.set(account, { isDisabled: true })), 'storage-full')
      assert.deepEqual([account.isDisabled, world.told], [false, []])
    })

    test('there is nothing to set of an account that does not exist', async () => {
      await using world = await startDirectory(kind)
      const { device } = await world.register('admin')
      const body = { account: world.person('nobody').id, bytes: 1 }
      const refused = Promise.resolve(setAccount(world.services(), sessionOf(device), { kind: 'quota', body }))
      assert.equal(await reasonOf(refused), 'not-permitted')
    })

    test('accounts are shown page by page, with what they keep stored, the disabled ones too', async () => {
      await using world = await startDirectory(kind)
      const others = await crowd(world, 101)
      const { device } = await world.register('zz admin')
      const [first] = others
      assert.ok(first)
      await world.directory.set(first, { isDisabled: true })
      const services = world.services({ storedBytes: async ({ number }) => 1000 + number })
      const page = await accounts(services, sessionOf(device), { after: undefined })
      assert.deepEqual([page.accounts.length, page.isLast], [100, false])
      assert.deepEqual(page.accounts[0], {
        account: first.id,
        name: first.name,
        isAdmin: false,
        isDisabled: true,
        devices: 1,
        storedBytes: 1000 + first.number,
        quotaBytes: first.quotaBytes,
        createdAt: first.createdAt,
      })
      const last = await accounts(services, sessionOf(device), { after: page.accounts.at(-1)?.name })
      assert.deepEqual([last.accounts.map((each) => each.name), last.isLast], [[nameOf(100), 'zz admin'], true])
    })

    test('an administrator invites', async () => {
      await using world = await startDirectory(kind, { registration: 'closed' })
      const made = await invite(world.services(), sessionOf(await anyDevice(world)), { isAdmin: true })
      world.policy.registration = 'invite'
      assert.equal((await world.register('alice', made.invite)).account.isAdmin, true)
    })
  })

async function anyDevice(world: DirectoryWorld): Promise<Device> {
  world.policy.registration = 'open'
  return (await world.register('admin')).device
}
