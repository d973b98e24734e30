import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { VarintReader, VarintWriter } from '../../src/storage/varint.ts'

function written(numbers: readonly number[]): Uint8Array {
  const writer = new VarintWriter(1)
  for (const number of numbers) writer.put(number)
  return writer.written().slice()
}

function read(bytes: Uint8Array): number[] {
  const reader = new VarintReader(bytes)
  const numbers: number[] = []
  while (!reader.done) numbers.push(reader.take())
  return numbers
}

suite('varint', () => {
  test('every number below 2^53 comes back', () => {
    const edges = [0, 1, 127, 128, 2 ** 14 - 1, 2 ** 14, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 49, 2 ** 53 - 1]
    assert.deepEqual(read(written(edges)), edges)
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat()), (numbers) => {
        assert.deepEqual(read(written(numbers)), numbers)
      }),
    )
  })

  test('arbitrary bytes are refused with a RangeError, or are numbers', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          for (const number of read(bytes)) assert(Number.isSafeInteger(number))
        } catch (error) {
          assert(error instanceof RangeError)
        }
      }),
    )
  })

  test('a number that is cut short is refused', () => {
    const bytes = written([2 ** 40])
    for (let length = 1; length < bytes.length; length++)
      assert.throws(() => read(bytes.subarray(0, length)), RangeError)
  })

  test('a writer that is cleared begins anew', () => {
    const writer = new VarintWriter(8)
    writer.put(300)
    writer.clear()
    writer.put(5)
    assert.deepEqual(read(writer.written()), [5])
  })
})
