import assert from 'node:assert/strict'
import { test } from 'node:test'
import { utf8Encode } from '@messageu/protocol'
import { newDevice } from '../src/device.ts'
import { addDevice } from '../src/listentries.ts'
import { compareSafetyPayload, type SafetyIdentity, safetyNumber } from '../src/safetynumber.ts'
import { continueVerified } from '../src/verifiedlist.ts'
import { testAccount } from './account.ts'
import { seeded } from './seeded.ts'

test('both sides see the same 60 digits and the same code', async () => {
  const [alice, bob] = await pair()
  const seenByAlice = safetyNumber(alice.list, bob.list)
  const seenByBob = safetyNumber(bob.list, alice.list)
  assert.match(seenByAlice.digits, /^\d{60}$/)
  assert.deepEqual(seenByAlice, seenByBob)
  assert.equal(compareSafetyPayload(seenByAlice, seenByBob.payload), 'same')
})

test('a device more or less does not change the number', async () => {
  const [alice, bob] = await pair()
  const laptop = await bob.certificateOf(newDevice(seeded('laptop')))
  const grown = await continueVerified(bob.list, [await addDevice(bob.list, bob.managerKey, laptop)])
  assert.equal(safetyNumber(alice.list, grown).digits, safetyNumber(alice.list, bob.list).digits)
})

test('S02: a substituted key shows on both sides, in the digits and in the code', async () => {
  const [alice, bob] = await pair()
  const [towardsAlice, towardsBob] = [await testAccount('mallory 1'), await testAccount('mallory 2')]
  const seenByAlice = safetyNumber(alice.list, towardsAlice.list)
  const seenByBob = safetyNumber(bob.list, towardsBob.list)
  assert.notEqual(seenByAlice.digits, seenByBob.digits)
  assert.equal(compareSafetyPayload(seenByAlice, seenByBob.payload), 'different')
  assert.equal(compareSafetyPayload(seenByBob, seenByAlice.payload), 'different')
})

test('S02: a server that shows one side the true key is found out as well', async () => {
  const [alice, bob] = await pair()
  const mallory = await testAccount('mallory')
  const seenByAlice = safetyNumber(alice.list, mallory.list)
  const seenByBob = safetyNumber(bob.list, alice.list)
  assert.notEqual(seenByAlice.digits, seenByBob.digits)
  assert.equal(compareSafetyPayload(seenByAlice, seenByBob.payload), 'different')
})

test('any other bit in the code is a difference', async () => {
  const [alice, bob] = await pair()
  const number = safetyNumber(alice.list, bob.list)
  for (let at = 1; at < number.payload.length; at++) {
    const changed = number.payload.with(at, (number.payload[at] ?? 0) ^ 1)
    assert.equal(compareSafetyPayload(number, changed), 'different', `byte ${at}`)
  }
})

test('a code of something else is unreadable, not different', async () => {
  const [alice, bob] = await pair()
  const number = safetyNumber(alice.list, bob.list)
  for (const scanned of [
    new Uint8Array(),
    utf8Encode('https://example.org'),
    number.payload.slice(1),
    Uint8Array.of(...number.payload, 0),
    number.payload.with(0, 2),
  ])
    assert.equal(compareSafetyPayload(number, scanned), 'unreadable')
})

test('the digits are those of the construction, computed by WebCrypto', async () => {
  const [alice, bob] = await pair()
  const own = await digits(alice.list)
  const others = await digits(bob.list)
  const expected = lower(alice.list.accountKey, bob.list.accountKey) ? own + others : others + own
  assert.equal(safetyNumber(alice.list, bob.list).digits, expected)
})

async function pair() {
  return [await testAccount('alice'), await testAccount('bob')] as const
}

function lower(one: Uint8Array, other: Uint8Array): boolean {
  const at = one.findIndex((byte, i) => byte !== other[i])
  return (one[at] ?? 0) < (other[at] ?? 0)
}

/** The construction as the docstring of `safetyNumber` tells it, by other means. */
async function digits({ account, accountKey }: SafetyIdentity): Promise<string> {
  const sha512 = async (...bytes: readonly number[]) =>
    new Uint8Array(await crypto.subtle.digest('SHA-512', Uint8Array.of(...bytes)))
  let hash = await sha512(...utf8Encode('messageu/safety/1'), 0, ...account, ...accountKey)
  for (let round = 1; round <= 5200; round++) hash = await sha512(...hash, ...accountKey)
  let text = ''
  for (let at = 0; at < 30; at += 5) {
    const group = hash.slice(at, at + 5)
    const number = Array.from(group, (byte) => BigInt(byte)).reduce((sum, byte) => sum * 256n + byte, 0n)
    text += (number % 100_000n).toString().padStart(5, '0')
  }
  return text
}
