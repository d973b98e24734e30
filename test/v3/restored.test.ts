import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Household } from './household.ts'

test('U05: a device that a restored server has forgotten gives its list back, and works', async () => {
  await using household = await Household.start()
  const [alice, bob] = await household.pair()
  const copy = await household.copyServer()
  const phone = await household.second(alice, 'phone')
  await phone.say('bob', 'by phone')
  for (const each of [alice, phone]) await each[Symbol.asyncDispose]()
  await copy.restore()

  const again = await household.open({ profile: 'phone', words: phone.words })
  await again.say('bob', 'by phone again')
  await bob.hears('by phone again')
})

test('I1, I2, U05: whoever is let in after the server was restored has what was said before, once and in its order', async () => {
  await using household = await Household.start()
  const [alice, bob] = await household.pair()
  await bob.say('alice', 'one')
  const copy = await household.copyServer()
  for (const text of ['two', 'three']) await bob.say('alice', text)
  await alice.hears('two', 'three')
  await copy.restore()
  for (const text of ['four', 'five']) await alice.say('bob', text)
  await bob.hears('four', 'five')
  const phone = await household.second(alice, 'phone')
  const said = ['alice greets', 'bob greets back', 'one', 'two', 'three', 'four', 'five']
  for (const each of [alice, bob]) assert.deepEqual(await each.texts(each === alice ? 'bob' : 'alice'), said)
  const isThere = async (): Promise<boolean> =>
    (await phone.client.history('bob').catch(() => [])).length >= said.length
  await phone.until(isThere, 'the past')
  assert.deepEqual(await phone.texts('bob'), said)
})
