import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Codec, decode, encode } from '../../src/codec.ts'
import { ProtocolError } from '../../src/errors.ts'
import type { Documented } from './notation.ts'

/** Whatever one writes the other reads, names and order of fields included; both refuse the same; both have the same bounds. */
export function assertSameType(
  codec: Codec<unknown> | undefined,
  { codec: other, values, numbers, shape }: Documented,
): void {
  assert.ok(codec !== undefined)
  assert.deepEqual({ min: codec.min, max: codec.max }, { min: other.min, max: other.max })
  const both = fc.property(values, (value) => {
    const wire = encode(other, value)
    assert.deepEqual(Buffer.from(encode(codec, value)), Buffer.from(wire))
    const read = decode(codec, wire)
    assert.deepEqual(read, value)
    if (shape === 'struct') assert.deepEqual(Object.keys(read as object), Object.keys(decode(other, wire) as object))
  })
  fc.assert(both)
  const damaged = fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, place, change) => {
    const wire = encode(other, value).map((byte, i, { length }) => (i === place % length ? byte ^ change : byte))
    assert.deepEqual(outcome(codec, wire), outcome(other, wire))
  })
  fc.assert(damaged, { numRuns: 300 })
  if (shape === 'union') {
    const tags = Array.from({ length: 256 }, (_, tag) => tag).filter((tag) => !isUnknown(codec, tag))
    assert.deepEqual(
      tags,
      Object.values(numbers ?? {}).toSorted((a, b) => a - b),
    )
  }
}

function outcome(codec: Codec<unknown>, wire: Uint8Array): unknown {
  try {
    return decode(codec, wire)
  } catch (error) {
    return error instanceof ProtocolError ? error.reason : error
  }
}

function isUnknown(codec: Codec<unknown>, tag: number): boolean {
  const why = `no meaning is defined for the number ${tag}`
  try {
    decode(codec, Uint8Array.of(tag))
    return false
  } catch (error) {
    return error instanceof ProtocolError && error.message === why
  }
}
