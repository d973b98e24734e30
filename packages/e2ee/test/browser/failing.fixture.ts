/** Not a test of the package: what the browser's runner has to notice. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

test('holds', () => assert.equal(1, 1))
test('is wrong at once', () => assert.equal(1, 2))
describe('inside', () => {
  test('is wrong later', async () => {
    await Promise.resolve()
    assert.deepEqual([Uint8Array.of(1)], [Uint8Array.of(2)])
  })
  test('waits in vain for an error', () => assert.rejects(Promise.resolve(), { reason: 'bad-list' }))
  test('gets another error', () => assert.throws(() => JSON.parse('{'), { reason: 'bad-list' }))
  test('throws what is no error', () => Promise.reject('a text'))
})
