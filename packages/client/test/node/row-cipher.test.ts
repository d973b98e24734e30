import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '@messageu/e2ee'
import { RowCipher } from '../../src/node/row-cipher.ts'

const cipher = new RowCipher(new Secret(new Uint8Array(32).fill(5)))
const row = { key: Uint8Array.of(1, 2), value: Uint8Array.of(3, 4, 5) }
const place = { name: cipher.nameOf('pins', row.key), revision: 7 }

test('K06: a sealed row opens in its own place, table and revision, and nowhere else', () => {
  const sealed = cipher.seal('pins', row, place)
  assert.deepEqual(cipher.open('pins', sealed), row)
  const damaged = { reason: 'damaged' }
  assert.throws(() => cipher.open('lists', sealed), damaged)
  assert.throws(() => cipher.open('pins', { ...sealed, revision: 8 }), damaged)
  assert.throws(() => cipher.open('pins', { ...sealed, name: cipher.nameOf('pins', Uint8Array.of(9)) }), damaged)
  for (let at = 0; at < sealed.sealed.length; at++) {
    const flipped = Uint8Array.from(sealed.sealed)
    flipped[at] = (flipped[at] ?? 0) ^ 1
    assert.throws(() => cipher.open('pins', { ...sealed, sealed: flipped }), damaged)
  }
  assert.throws(() => cipher.open('pins', { ...sealed, sealed: sealed.sealed.subarray(0, 10) }), damaged)
})

test('the same row is sealed differently each time, under a name that another key does not give it', () => {
  const [one, other] = [cipher.seal('pins', row, place), cipher.seal('pins', row, place)]
  assert.notDeepEqual(one.sealed, other.sealed)
  assert.deepEqual(one.name, other.name)
  assert.notDeepEqual(one.name, new RowCipher(new Secret(new Uint8Array(32))).nameOf('pins', row.key))
  assert.notDeepEqual(one.name, cipher.nameOf('lists', row.key))
})
