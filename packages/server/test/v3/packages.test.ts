import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type KeyPackage, limits } from '@messageu/protocol/v3'
import { claim } from '../../src/v3/operations/claim.ts'
import { countPackages } from '../../src/v3/operations/count-packages.ts'
import { publish } from '../../src/v3/operations/publish.ts'
import {
  type DirectoryWorld,
  dayMs,
  hourMs,
  kinds,
  nameOf,
  newPackages,
  only,
  outcomes,
  reasonOf,
  refusalOf,
  sessionOf,
  startDirectory,
} from './directoryworld.ts'

const lastResort = (): KeyPackage[] => newPackages(1, { isLastResort: true })
const yearMs = 365 * dayMs
const everything = new Uint8Array(0)

const text = ({ keyPackage }: { keyPackage: Uint8Array }): string => Buffer.from(keyPackage).toString('hex')

/** Alice, who publishes, and Bob, who claims. */
async function pair(world: DirectoryWorld, packages: readonly KeyPackage[] = []) {
  const alice = await world.register('alice')
  const bob = await world.register('bob')
  await world.directory.publish(alice.device, packages)
  return { alice, bob }
}

for (const kind of kinds)
  suite(`key packages on ${kind}`, () => {
    test('are handed out the oldest first, each once, and then the last resort again and again', async () => {
      await using world = await startDirectory(kind)
      const packages = newPackages(3)
      const [last] = lastResort()
      assert.ok(last)
      const { alice, bob } = await pair(world, [last, ...packages])
      const claimed = []
      for (let i = 0; i < 5; i++) claimed.push(only(await world.directory.claim(bob.account, alice.account, true)))
      assert.deepEqual(claimed.map(text), [...packages, last, last].map(text))
      assert.deepEqual(
        claimed.map(({ isLastResort }) => isLastResort),
        [false, false, false, true, true],
      )
      assert.deepEqual(claimed[0]?.device, alice.device.id)
      assert.deepEqual(await world.directory.countPackages(alice.device), { singleUse: 0, hasLastResort: true })
    })

    test('come from every device that has any', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, newPackages(1))
      for (let i = 0; i < 2; i++) await world.directory.append(alice.account, alice.person.adding())
      const [, second, third] = alice.account.devices
      assert.ok(second && third)
      await world.directory.publish(second, lastResort())
      const claimed = await world.directory.claim(bob.account, alice.account, false)
      assert.deepEqual(
        claimed.map(({ device }) => device),
        [alice.device.id, second.id],
      )
      const again = await world.directory.claim(bob.account, alice.account, false)
      assert.deepEqual(
        again.map(({ device }) => device),
        [second.id],
      )
    })

    test('are never handed out twice, however many claim at once, also over a restart', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world, newPackages(60))
      const claimers = await Promise.all(Array.from({ length: 40 }, (_, i) => world.register(nameOf(i))))
      const first = await Promise.all(
        claimers.slice(0, 20).map(({ account }) => world.directory.claim(account, alice.account, false)),
      )
      await world.restart()
      const again = await world.directory.account(alice.account.id)
      assert.ok(again)
      const second = await Promise.all(
        claimers.slice(20).map(({ account }) => world.directory.claim(account, again, false)),
      )
      const handedOut = [...first, ...second].flat().map(text)
      assert.equal(handedOut.length, 40)
      assert.equal(new Set(handedOut).size, 40)
      assert.deepEqual(await world.directory.countPackages(only(again.devices)), {
        singleUse: 20,
        hasLastResort: false,
      })
    })

    test('a new last resort takes the place of the one before', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, lastResort())
      const [newer] = lastResort()
      assert.ok(newer)
      await world.directory.publish(alice.device, [newer])
      assert.deepEqual([text(only(await world.directory.claim(bob.account, alice.account, false)))], [text(newer)])
      const both = world.directory.publish(alice.device, [...lastResort(), ...lastResort()])
      assert.equal(await reasonOf(both), 'malformed')
    })

    test('there are at most a hundred, and a request for more adds none', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world, newPackages(60))
      const { steps } = world.archive
      const tooMany = [...newPackages(limits.keyPackagesPerDeviceMax - 59), ...lastResort()]
      assert.equal(await reasonOf(world.directory.publish(alice.device, tooMany)), 'limited')
      assert.equal(world.archive.steps, steps)
      const enough = tooMany.slice(1)
      assert.deepEqual(await world.directory.publish(alice.device, enough), { singleUse: 100, hasLastResort: true })
    })

    test('two publications at once stay below the limit together', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world)
      const won = await outcomes([60, 60].map((count) => world.directory.publish(alice.device, newPackages(count))))
      assert.deepEqual(won, { 'not refused': 1, limited: 1 })
      assert.equal((await world.directory.countPackages(alice.device)).singleUse, 60)
    })

    test('N06: published again, they are there once', async () => {
      await using world = await startDirectory(kind)
      const packages = [...newPackages(50), ...lastResort()]
      const { alice } = await pair(world, packages)
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        const device = await world.directory.device(alice.device.id)
        assert.ok(device)
        assert.deepEqual(await world.directory.publish(device, packages), { singleUse: 50, hasLastResort: true })
      }
    })

    test('N06: published again, one that was handed out meanwhile does not come back', async () => {
      await using world = await startDirectory(kind)
      const packages = newPackages(limits.keyPackagesPerDeviceMax)
      const { alice, bob } = await pair(world, packages)
      for (let i = 0; i < packages.length; i++) await world.directory.claim(bob.account, alice.account, true)
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        const device = await world.directory.device(alice.device.id)
        assert.ok(device)
        assert.deepEqual(await world.directory.publish(device, packages), { singleUse: 0, hasLastResort: false })
      }
    })

    test('what is remembered of those that were handed out does not grow without end', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      for (let round = 0; round < 3; round++) {
        await world.directory.publish(alice.device, newPackages(80))
        for (let i = 0; i < 80; i++) await world.directory.claim(bob.account, alice.account, true)
      }
      const kept = await world.archive.faulty.scan('keyPackage', { prefix: everything, limit: 1000 })
      assert.equal(kept.length, limits.keyPackagesPerDeviceMax)
      await world.restart()
      const device = await world.directory.device(alice.device.id)
      assert.ok(device)
      const fresh = newPackages(limits.keyPackagesPerDeviceMax)
      assert.equal((await world.directory.publish(device, fresh)).singleUse, fresh.length)
      const first = only(await world.directory.claim(bob.account, device.account, true))
      assert.equal(text(first), fresh.map(text)[0])
    })

    test('those that are too old are passed over, and make room', async () => {
      await using world = await startDirectory(kind)
      const notAfter = world.clock.nowMs() + hourMs
      const { alice, bob } = await pair(world, newPackages(99, { notAfter }))
      const [fresh] = newPackages(1)
      assert.ok(fresh)
      await world.directory.publish(alice.device, [fresh, ...newPackages(1, { notAfter, isLastResort: true })])
      world.clock.pass(hourMs)
      assert.deepEqual(await world.directory.countPackages(alice.device), { singleUse: 1, hasLastResort: false })
      assert.equal(text(only(await world.directory.claim(bob.account, alice.account, false))), text(fresh))
      assert.deepEqual(await world.directory.claim(bob.account, alice.account, false), [])
      const more = newPackages(limits.keyPackagesPerDeviceMax)
      assert.equal((await world.directory.publish(alice.device, more)).singleUse, 100)
    })

    test('those that are too old are forgotten when new ones come', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world, newPackages(100, { notAfter: world.clock.nowMs() + hourMs }))
      world.clock.pass(hourMs)
      const count = await world.directory.publish(alice.device, newPackages(70))
      assert.equal(count.singleUse, 70)
      assert.equal((await world.archive.faulty.scan('keyPackage', { prefix: everything, limit: 1000 })).length, 70)
    })

    test('K10: a clock that is set makes none too old', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, newPackages(2, { notAfter: world.clock.nowMs() + 2 * hourMs }))
      for (const jumpMs of [10 * yearMs, -20 * yearMs]) {
        world.clock.jump(jumpMs)
        world.clock.pass(hourMs / 2)
        only(await world.directory.claim(bob.account, alice.account, false))
      }
    })

    test('C11: a stranger cannot drain them; others still get theirs, and the owner is told', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, [...newPackages(limits.keyPackagesLow + 4), ...lastResort()])
      const claims = Array.from({ length: 20 }, () => world.directory.claim(bob.account, alice.account, false))
      assert.deepEqual(await outcomes(claims), { 'not refused': limits.strangerClaimsPerDay, limited: 15 })
      assert.deepEqual(world.warned, [{ device: alice.device, singleUse: 29, hasLastResort: true }])
      const carol = await world.register('carol')
      only(await world.directory.claim(carol.account, alice.account, false))
    })

    test('C11: the limit of a day holds over a restart, and says how long it lasts', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, newPackages(20))
      for (let i = 0; i < limits.strangerClaimsPerDay; i++)
        await world.directory.claim(bob.account, alice.account, false)
      world.clock.pass(hourMs)
      await world.restart()
      const again = async () => {
        const [claimer, account] = await Promise.all(
          [bob, alice].map(({ person }) => world.directory.account(person.id)),
        )
        assert.ok(claimer && account)
        return world.directory.claim(claimer, account, false)
      }
      assert.equal((await refusalOf(again())).retryAfterMs, 23 * hourMs)
      world.clock.pass(23 * hourMs - 1)
      assert.equal((await refusalOf(again())).retryAfterMs, 1)
      world.clock.pass(1)
      only(await again())
    })

    test('a contact may claim more often than a stranger, and not without end', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world, lastResort())
      for (let i = 0; i < limits.contactClaimsPerDay; i++)
        only(await world.directory.claim(bob.account, alice.account, true))
      assert.equal(await reasonOf(world.directory.claim(bob.account, alice.account, true)), 'limited')
    })

    test('K10: no clock that is set keeps anybody out for longer than a day', async () => {
      // over a restart there is no other clock: an hour that is set back then is an hour more
      for (const [restart, jumpsMs] of [
        [false, [10 * yearMs, -10 * yearMs, hourMs, -hourMs]],
        [true, [10 * yearMs, -10 * yearMs, hourMs]],
      ] as const)
        for (const jumpMs of jumpsMs) {
          await using world = await startDirectory(kind)
          const { alice, bob } = await pair(world, newPackages(20))
          for (let i = 0; i < limits.strangerClaimsPerDay; i++)
            await world.directory.claim(bob.account, alice.account, false)
          world.clock.jump(jumpMs)
          if (restart) await world.restart()
          world.clock.pass(dayMs)
          const account = await world.directory.account(alice.person.id)
          assert.ok(account)
          only(await world.directory.claim(bob.account, account, false))
        }
    })

    test('counts of claims that are over are forgotten', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world, newPackages(50))
      const claimers = await Promise.all(Array.from({ length: 30 }, (_, i) => world.register(nameOf(i))))
      for (const { account } of claimers.slice(0, 15)) await world.directory.claim(account, alice.account, false)
      world.clock.pass(2 * dayMs)
      for (const { account } of claimers.slice(15)) await world.directory.claim(account, alice.account, false)
      assert.equal((await world.archive.faulty.scan('claim', { prefix: everything, limit: 100 })).length, 15)
    })

    test('a claim whose step fails costs nothing: neither the package nor one of the day', async () => {
      await using world = await startDirectory(kind)
      const packages = newPackages(limits.strangerClaimsPerDay)
      const { alice, bob } = await pair(world, packages)
      const claimed = []
      for (let i = 0; i < packages.length; i++) {
        world.archive.failNext()
        assert.equal(await reasonOf(world.directory.claim(bob.account, alice.account, false)), 'storage-full')
        claimed.push(only(await world.directory.claim(bob.account, alice.account, false)))
      }
      assert.deepEqual(claimed.map(text), packages.map(text))
    })

    test('a publication whose step fails has not happened', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world)
      const packages = newPackages(10)
      world.archive.failNext()
      assert.equal(await reasonOf(world.directory.publish(alice.device, packages)), 'storage-full')
      assert.equal((await world.directory.countPackages(alice.device)).singleUse, 0)
      assert.equal((await world.directory.publish(alice.device, packages)).singleUse, 10)
    })

    test('there is nothing to claim of who ended or is disabled, and nothing is counted where there was nothing', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      for (let i = 0; i < 2 * limits.strangerClaimsPerDay; i++)
        assert.deepEqual(await world.directory.claim(bob.account, alice.account, false), [])
      await world.directory.publish(alice.device, newPackages(2))
      await world.directory.set(alice.account, { isDisabled: true })
      assert.equal(await reasonOf(world.directory.claim(bob.account, alice.account, false)), 'not-permitted')
      await world.directory.set(alice.account, { isDisabled: false })
      only(await world.directory.claim(bob.account, alice.account, false))
      const close = alice.person.next({ kind: 'close', body: undefined }, 'account')
      await world.directory.append(alice.account, close)
      assert.equal(await reasonOf(world.directory.claim(bob.account, alice.account, false)), 'not-permitted')
    })
  })

suite('the operations of key packages', () => {
  test('publish and count for the device that asks', async () => {
    await using world = await startDirectory('memory')
    const { alice, bob } = await pair(world)
    const counted = await publish(world.services(), sessionOf(alice.device), [...newPackages(2), ...lastResort()])
    assert.deepEqual(counted, { singleUse: 2, hasLastResort: true })
    assert.deepEqual(await countPackages(world.services(), sessionOf(alice.device), undefined), counted)
    const others = await countPackages(world.services(), sessionOf(bob.device), undefined)
    assert.deepEqual(others, { singleUse: 0, hasLastResort: false })
  })

  test('claim as a stranger five times, as a contact more often, and the packages of one’s own devices', async () => {
    await using world = await startDirectory('memory')
    const { alice, bob } = await pair(world, lastResort())
    const claims = (count: number, asker = bob.device) =>
      Array.from({ length: count }, async () => claim(world.services(), sessionOf(asker), alice.account.id))
    assert.deepEqual(await outcomes(claims(10)), { 'not refused': 5, limited: 5 })
    await world.contacts.judge(alice.account, bob.account, 'accept')
    assert.deepEqual(await outcomes(claims(10)), { 'not refused': 10 })
    assert.deepEqual(await outcomes(claims(10, alice.device)), { 'not refused': 10 })
  })

  test('C04: who is blocked or refused learns as much as of an account that does not exist', async () => {
    await using world = await startDirectory('memory')
    const { alice, bob } = await pair(world, lastResort())
    const nobody = world.person('nobody').id
    const ask = async (id: typeof nobody) => claim(world.services(), sessionOf(bob.device), id)
    const unknown = await refusalOf(ask(nobody))
    for (const verdict of ['block', 'refuse'] as const) {
      await world.contacts.judge(alice.account, bob.account, verdict)
      assert.deepEqual(await refusalOf(ask(alice.account.id)), unknown)
    }
    await world.contacts.judge(alice.account, bob.account, 'unblock')
    await world.directory.set(alice.account, { isDisabled: true })
    assert.deepEqual(await refusalOf(ask(alice.account.id)), unknown)
  })
})
