import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newSeed, Secret } from '../src/secret.ts'
import { seeded } from './seeded.ts'

test('I4: a secret in JSON and in text is a word, not its bytes', () => {
  const secret = new Secret(Uint8Array.of(77, 78, 79))
  assert.equal(JSON.stringify({ secret }), '{"secret":"[secret]"}')
  assert.equal(`${secret}`, '[secret]')
  assert.equal([secret].join(), '[secret]')
})

test('I4: whoever lists the properties of a secret finds none', () => {
  assert.deepEqual(Reflect.ownKeys(new Secret(Uint8Array.of(77, 78, 79))), [])
})

test('a secret gives its bytes to whoever asks by name', () => {
  assert.deepEqual(new Secret(Uint8Array.of(1, 2)).reveal(), Uint8Array.of(1, 2))
})

test('a seed is 32 bytes, other ones each time', () => {
  const random = seeded('seeds')
  const one = newSeed(random).reveal()
  const other = newSeed(random).reveal()
  assert.equal(one.length, 32)
  assert.notDeepEqual(one, other)
})

test('a source of randomness that gives too little stops the program', () => {
  assert.throws(() => newSeed(() => new Uint8Array(31)), { message: /31 bytes instead of 32/ })
})
