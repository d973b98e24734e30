import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contexts, inContext } from '../../src/v3/index.ts'

test('C01: what is signed for one purpose is not what is signed for another, whatever is in it', () => {
  const labels = Object.values(contexts)
  assert.equal(new Set(labels).size, labels.length)
  for (const label of labels) {
    assert.match(label, /^messageu\/[a-z/-]+\/1$/) // without a zero byte, which ends it
    for (const other of labels) if (other !== label) assert.ok(!`${other}\0`.startsWith(`${label}\0`))
  }
})

test('the context stands in front, with a zero byte behind it, then the parts without anything between', () => {
  const bytes = inContext(contexts.account, Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3))
  assert.equal(Buffer.from(bytes).toString('latin1'), 'messageu/account/1\0\u0001\u0002\u0003')
  assert.equal(Buffer.from(inContext(contexts.invite)).toString('latin1'), 'messageu/invite/1\0')
})
