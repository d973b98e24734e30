import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { RefusedError } from '@messageu/protocol/v3'
import { append } from '../../src/v3/operations/append.ts'
import { readList } from '../../src/v3/operations/read-list.ts'
import { recover } from '../../src/v3/operations/recover.ts'
import { kinds, nameOf, newPackages, only, outcomes, reasonOf, sessionOf, startDirectory } from './directoryworld.ts'
import { newDeviceId, newKey, random } from './person.ts'

const remote = { remote: '203.0.113.7' }

for (const kind of kinds)
  suite(`device lists on ${kind}`, () => {
    test('a device that is added is found, with the certificate of its entry, also after a restart', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const certificate = person.newDevice()
      await world.directory.append(account, person.adding(certificate))
      assert.equal(account.devices.length, 2)
      assert.deepEqual(account.list.hash, person.hash)
      const before = await world.directory.device(certificate.device)
      assert.equal(before, account.devices[1])
      await world.restart()
      const after = await world.directory.device(certificate.device)
      assert.ok(before && after)
      assert.deepEqual([after.number, after.isListed], [before.number, true])
      assert.deepEqual(after.certificate, { ...certificate, since: 2 })
      assert.equal(after.account.list.version, 2)
    })

    test('of twenty entries that continue the same one, one is taken, and the others hear what is newest', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const drafts = Array.from({ length: 20 }, () =>
        person.draft({ kind: 'add', body: { device: person.newDevice() } }),
      )
      const attempts = drafts.map((entry) => world.directory.append(account, entry))
      const outcome = await Promise.allSettled(attempts)
      const errors = outcome.filter((each) => each.status === 'rejected').map(({ reason }) => reason as unknown)
      assert.equal(errors.length, 19)
      const { version, hash } = account.list
      assert.equal(version, 2)
      for (const error of errors) {
        assert.ok(error instanceof RefusedError && error.reason === 'stale-list')
        assert.deepEqual(error.current, { kind: 'list', body: { version, hash } })
      }
      assert.equal(account.devices.length, 2)
      assert.equal(world.told.length, 1)
    })

    test('N06: an entry that stands on the list is answered as before, the newest and an older one', async () => {
      await using world = await startDirectory(kind)
      const { person, device } = await world.register('alice')
      const entries = [person.adding(), person.adding()]
      const answer = (entry: Uint8Array) => append(world.services(), sessionOf(device), { account: person.id, entry })
      const first = []
      for (const entry of entries) first.push(await answer(entry))
      assert.deepEqual(
        first.map(({ version }) => version),
        [2, 3],
      )
      assert.deepEqual(first[1]?.hash, person.hash)
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        const { steps } = world.archive
        const again = await Promise.all(entries.map((entry) => recoverOrAppend(entry)))
        assert.deepEqual(again, first)
        assert.equal(world.archive.steps, steps)
      }
      assert.equal(world.told.length, 2)

      async function recoverOrAppend(entry: Uint8Array) {
        const current = await world.directory.device(device.id)
        assert.ok(current)
        return append(world.services(), sessionOf(current), { account: person.id, entry })
      }
    })

    test('an older entry again, with one byte different, is stale', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const other = person.draft({ kind: 'add', body: { device: person.newDevice() } })
      await world.directory.append(account, person.adding())
      assert.equal(await reasonOf(world.directory.append(account, other)), 'stale-list')
    })

    test('C01: a list grows by its own keys only', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const { person: bob } = await world.register('bob')
      const added = { kind: 'add', body: { device: person.newDevice() } } as const
      const wrong = {
        'by a key of nobody': person.draft(added, 'manager', { key: newKey() }),
        'by the manager in the name of the account key': person.draft(added, 'account', { key: person.managerKey }),
        'of another account': person.draft(added, 'manager', { account: bob.id }),
        'with a device of another account': person.draft({ kind: 'add', body: { device: bob.newDevice() } }),
        'of a device that is not there': person.draft({ kind: 'remove', body: { device: newDeviceId() } }),
      }
      const { steps } = world.archive
      for (const [what, entry] of Object.entries(wrong))
        assert.equal(await reasonOf(world.directory.append(account, entry)), 'bad-list', what)
      assert.equal(world.archive.steps, steps)
      assert.equal(account.list.version, 1)
    })

    test('S13: bytes that are no entry change nothing', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const { steps } = world.archive
      const good = person.draft({ kind: 'add', body: { device: person.newDevice() } })
      for (let i = 0; i < 100; i++) {
        const at = Math.floor((i * good.length) / 100)
        const bytes = i % 2 === 0 ? random(1 + i * 7) : good.map((byte, place) => (place === at ? byte ^ 0x10 : byte))
        const reason = await reasonOf(world.directory.append(account, bytes))
        assert.match(reason, /^(malformed|bad-list|stale-list)$/)
      }
      assert.equal(world.archive.steps, steps)
      await world.directory.append(account, good)
    })

    test('C01: a session appends to the list of its own account only', async () => {
      await using world = await startDirectory(kind)
      const { device } = await world.register('alice')
      const { person: bob } = await world.register('bob')
      const request = { account: bob.id, entry: bob.adding() }
      const refused = Promise.resolve(append(world.services(), sessionOf(device), request))
      assert.equal(await reasonOf(refused), 'not-permitted')
    })

    test('without a session the account key recovers: it delists the others, and the old manager is over', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      const { managerKey } = person
      const ask = (entry: Uint8Array) =>
        Promise.resolve(recover(world.services(), remote, { account: person.id, entry }))
      const certificate = person.newDevice()
      assert.deepEqual(await ask(person.recovery(certificate)), { version: 2, hash: person.hash })
      assert.deepEqual(world.told, [{ account, delisted: [device] }])
      assert.equal(device.isListed, false)
      assert.deepEqual(only(account.devices).id, certificate.device)

      const byOldManager = person.draft({ kind: 'add', body: { device: person.newDevice() } }, 'manager', {
        key: managerKey,
      })
      assert.equal(await reasonOf(world.directory.append(account, byOldManager)), 'bad-list')
    })

    test('U05: without a session whoever has an entry brings it, by whichever key of the account it is signed', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const ask = (entry: Uint8Array) =>
        Promise.resolve(recover(world.services(), remote, { account: person.id, entry }))
      const added = { kind: 'add', body: { device: person.newDevice() } } as const
      assert.equal(await reasonOf(ask(person.draft(added, 'manager', { key: newKey() }))), 'bad-list')
      assert.equal(account.devices.length, 1)
      assert.deepEqual(await ask(person.adding()), { version: 2, hash: person.hash })
      assert.equal(account.devices.length, 2)
    })

    test('a device that was delisted is known as that, also after a restart', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      await world.directory.append(account, person.recovery(person.newDevice()))
      assert.equal(await world.directory.device(device.id), device)
      await world.restart()
      const former = await world.directory.device(device.id)
      assert.ok(former)
      assert.deepEqual([former.number, former.isListed], [device.number, false])
      assert.deepEqual(former.certificate, device.certificate)
      assert.equal(await world.directory.deviceByNumber(device.number), former)
      assert.equal(former.account, await world.directory.account(person.id))
      assert.equal(former.account.devices.includes(former), false)
    })

    test('nobody recovers an account that does not exist', async () => {
      await using world = await startDirectory(kind)
      const nobody = world.person('nobody')
      const refused = Promise.resolve(recover(world.services(), remote, { account: nobody.id, entry: nobody.entry }))
      assert.equal(await reasonOf(refused), 'not-permitted')
    })

    test('an id of a device that somebody else has is refused, also of two that want it at once', async () => {
      await using world = await startDirectory(kind)
      const { person: alice, account } = await world.register('alice')
      const { device } = await world.register('bob')
      const taken = alice.draft({ kind: 'add', body: { device: alice.newDevice(device.id) } })
      assert.equal(await reasonOf(world.directory.append(account, taken)), 'bad-list')

      const id = newDeviceId()
      const rivals = await Promise.all(Array.from({ length: 10 }, (_, i) => world.register(nameOf(i))))
      const won = await outcomes(
        rivals.map((rival) => world.directory.append(rival.account, rival.person.adding(rival.person.newDevice(id)))),
      )
      assert.deepEqual(won, { 'not refused': 1, 'bad-list': 9 })
    })

    test('an entry whose step fails has not happened, and may come again', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      await world.directory.publish(device, newPackages(1))
      const before = account.list
      const entry = person.recovery(person.newDevice())
      world.archive.failNext()
      assert.equal(await reasonOf(world.directory.append(account, entry)), 'storage-full')
      assert.deepEqual([account.list, device.isListed, world.told], [before, true, []])
      assert.equal((await world.directory.countPackages(device)).singleUse, 1)
      await world.directory.append(account, entry)
      assert.deepEqual([account.list.version, device.isListed, world.told.length], [2, false, 1])
    })

    test('nobody is told of an entry, and nobody sees it, before it is durable', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      const { steps } = world.archive
      const disk = world.archive.hold()
      const appended = world.directory.append(account, person.recovery(person.newDevice()))
      while (world.archive.steps === steps) await new Promise(setImmediate)
      assert.deepEqual([account.list.version, device.isListed, world.told], [1, true, []])
      disk[Symbol.dispose]()
      await appended
      assert.deepEqual([account.list.version, device.isListed, world.told.length], [2, false, 1])
    })

    test('the key packages of a delisted device are gone, and it publishes no more', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      await world.directory.publish(device, [...newPackages(40), ...newPackages(1, { isLastResort: true })])
      const claimer = await world.register('bob')
      await world.directory.claim(claimer.account, account, false)
      await world.directory.append(account, person.recovery(person.newDevice()))
      assert.deepEqual(await world.directory.claim(claimer.account, account, false), [])
      assert.deepEqual(await world.directory.countPackages(device), { singleUse: 0, hasLastResort: false })
      assert.equal(await reasonOf(world.directory.publish(device, newPackages(1))), 'not-permitted')
      assert.deepEqual(await world.archive.faulty.scan('keyPackage', { prefix: new Uint8Array(0), limit: 10 }), [])
    })

    test('an account that ends keeps its name taken, is not found, and takes no further entry', async () => {
      await using world = await startDirectory(kind)
      const { person, account, device } = await world.register('alice')
      await world.directory.append(account, person.next({ kind: 'close', body: undefined }, 'account'))
      assert.deepEqual(world.told, [{ account, delisted: [device] }])
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        assert.equal(await world.directory.accountByName(account.name), undefined)
        assert.deepEqual(await world.directory.accountsAfter(undefined, 10), [])
        assert.equal(await reasonOf(world.register('Alice')), 'name-taken')
        const ended = await world.directory.account(person.id)
        assert.ok(ended)
        assert.deepEqual([ended.list.isClosed, ended.devices], [true, []])
        const more = person.draft({ kind: 'add', body: { device: person.newDevice() } }, 'account')
        assert.equal(await reasonOf(world.directory.append(ended, more)), 'bad-list')
      }
    })

    test('a list is read page by page, by anybody who knows the account id', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const entries = [person.entry]
      for (let version = 2; version <= 120; version++) {
        const key = newKey()
        entries.push(person.next({ kind: 'manager', body: { managerKey: key.publicKey } }, 'account'))
        await world.directory.append(account, entries[version - 1] ?? assert.fail())
      }
      const page = (after: number) => readList(world.services(), remote, { account: person.id, after })
      assert.deepEqual(await page(0), { version: 120, entries: entries.slice(0, 100) })
      assert.deepEqual(await page(100), { version: 120, entries: entries.slice(100) })
      assert.deepEqual(await page(120), { version: 120, entries: [] })
      assert.deepEqual(await page(2 ** 32 - 1), { version: 120, entries: [] })
      const unknown = Promise.resolve(readList(world.services(), remote, { account: world.person('bob').id, after: 0 }))
      assert.equal(await reasonOf(unknown), 'not-permitted')
    })

    test('a page never holds more entries than the version beside it says', async () => {
      await using world = await startDirectory(kind)
      const { person, account } = await world.register('alice')
      const appending = world.directory.append(account, person.adding())
      for (let look = 0; look < 50; look++) {
        const { version, entries } = await readList(world.services(), remote, { account: person.id, after: 0 })
        assert.equal(entries.length, version)
      }
      await appending
      assert.equal((await readList(world.services(), remote, { account: person.id, after: 0 })).version, 2)
    })
  })
