import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { register } from '../../src/v3/operations/register.ts'
import { RegistrationRates, registrationLimits, sourceOf } from '../../src/v3/registrationrates.ts'
import { nameOf, outcomes, reasonOf, refusalOf, startDirectory, TestClock } from './directoryworld.ts'

const { perSource, inAll, sourcesMax } = registrationLimits
const address = (i: number): string => `203.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`

function attempts(rates: RegistrationRates, count: number, remote: (i: number) => string, hasInvite = false) {
  return Array.from({ length: count }, async (_, i) => rates.charge(remote(i), { hasInvite }))
}

suite('the rate of registrations', () => {
  test('C07: one address makes so many at once, and then one now and then', async () => {
    const clock = new TestClock()
    const rates = new RegistrationRates(clock)
    const all = attempts(rates, 50, () => address(1))
    assert.deepEqual(await outcomes(all), { 'not refused': perSource.burst, limited: 50 - perSource.burst })
    const again = async () => rates.charge(address(1), { hasInvite: false })
    const { retryAfterMs } = await refusalOf(again())
    assert.equal(retryAfterMs, 1000 / perSource.perSecond)
    clock.pass(retryAfterMs)
    assert.deepEqual([await reasonOf(again()), await reasonOf(again())], ['not refused', 'limited'])
    rates.charge(address(2), { hasInvite: false })
  })

  test('C07: many addresses together make so many, and whoever has an invite is not kept out by them', async () => {
    const rates = new RegistrationRates(new TestClock())
    const all = attempts(rates, 500, address)
    assert.deepEqual(await outcomes(all), { 'not refused': inAll.burst, limited: 500 - inAll.burst })
    assert.deepEqual(await outcomes(attempts(rates, 10, () => address(1000), true)), { 'not refused': 10 })
  })

  test('C07: an invite does not lift the limit of an address', async () => {
    const rates = new RegistrationRates(new TestClock())
    const all = attempts(rates, 50, () => address(1), true)
    assert.deepEqual(await outcomes(all), { 'not refused': perSource.burst, limited: 50 - perSource.burst })
  })

  test('C07: the addresses of one IPv6 network are one source', async () => {
    const rates = new RegistrationRates(new TestClock())
    const all = attempts(rates, 50, (i) => `2001:db8:7:9::${i.toString(16)}`)
    assert.deepEqual(await outcomes(all), { 'not refused': perSource.burst, limited: 50 - perSource.burst })
    rates.charge('2001:db8:7:a::1', { hasInvite: false })
  })

  test('sources are told apart by what one subscriber has', () => {
    const sources: Record<string, string> = {
      '203.0.113.7': '203.0.113.7',
      '::ffff:203.0.113.7': '203.0.113.7',
      '::FFFF:203.0.113.7': '203.0.113.7',
      '2001:db8:0:1:2:3:4:5': '2001:db8:0:1',
      '2001:DB8:0000:0001::5': '2001:db8:0:1',
      '2001:db8::1': '2001:db8:0:0',
      '2001::1:2:3:4:5:6': '2001:0:1:2',
      'fe80::1%eth0': 'fe80:0:0:0',
      '::1:2:3:4:5': '0:0:0:1',
      '::': '0:0:0:0',
    }
    for (const [remote, source] of Object.entries(sources)) assert.equal(sourceOf(remote), source, remote)
  })

  test('this machine is not counted', async () => {
    const rates = new RegistrationRates(new TestClock())
    assert.deepEqual(await outcomes(attempts(rates, 500, () => '127.0.0.1')), { 'not refused': 500 })
    const behindProxy = new RegistrationRates(new TestClock(), () => false)
    assert.equal((await outcomes(attempts(behindProxy, 500, () => '127.0.0.1'))).limited, 500 - perSource.burst)
  })

  test('C07: memory of sources is bounded, however many there are', () => {
    const rates = new RegistrationRates(new TestClock())
    for (let i = 0; i < sourcesMax + 1000; i++) rates.charge(address(i), { hasInvite: true })
    assert.equal(rates.sources, sourcesMax)
  })

  test('C07: a flood of registrations is refused before it costs anything, and others go on', async () => {
    await using world = await startDirectory('memory')
    const { person, account } = await world.register('resident')
    const ask = register(new RegistrationRates(world.clock, () => false))
    const people = Array.from({ length: 40 }, (_, i) => world.person(nameOf(i)))
    const { steps } = world.archive
    const flood = people.map(async (each) => ask(world.services(), { remote: address(1) }, each.registration()))
    assert.deepEqual(await outcomes(flood), { 'not refused': perSource.burst, limited: 40 - perSource.burst })
    assert.equal(world.archive.steps, steps + perSource.burst)
    await world.directory.append(account, person.adding())
  })

  test('a registration is answered with what the first one made', async () => {
    await using world = await startDirectory('memory')
    const ask = register(new RegistrationRates(world.clock))
    const person = world.person('alice')
    const { invite } = await world.directory.invite({ isAdmin: true })
    const founded: unknown[] = []
    const services = world.services({
      founding: (account, device, id) => {
        founded.push(account.id, device.id, id)
        return [{ kind: 'conversation', key: id, value: account.id }]
      },
    })
    const answer = { account: person.id, ownDevices: person.ownDevices, isAdmin: true }
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await ask(services, { remote: '::1' }, person.registration(invite)), answer)
    assert.deepEqual(founded, [person.id, person.device.device, person.ownDevices])
  })
})
