import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { crcOfBoth, crcOfChanged, crcOfFew, crcState } from '../../src/storage/crc.ts'

// more than are kept, and some that take the place of another
const lengths = [0, 1, 3, 4, 25, 63, 64, 65, 300, 364, 20, 300, 4095, 65_535, 65_536, 0, 300]

suite('CRC-32 of parts', () => {
  test('of two parts, it is that of both together, whatever their lengths', () => {
    for (const [i, length] of lengths.entries()) {
      const [first, second] = [randomBytes(i * 3), randomBytes(length)]
      assert.equal(crcOfBoth(crc32(first), crc32(second), length), crc32(Buffer.concat([first, second])), `${length}`)
    }
  })

  test('of a few bytes, it is that of zlib', () => {
    for (let length = 0; length < 40; length++) {
      const bytes = randomBytes(length + 3)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      assert.equal(crcOfFew(view, 2, length), crc32(bytes.subarray(2, 2 + length)), `${length}`)
    }
  })

  test('of changed bytes, it is that of what they have become', () => {
    for (const length of lengths) {
      const [front, words, end] = [randomBytes(7), randomBytes(8), randomBytes(length)]
      const changed = randomBytes(8)
      const change = [0, 4].reduce((state, at) => crcState(state, words.readUInt32LE(at) ^ changed.readUInt32LE(at)), 0)
      const before = crc32(Buffer.concat([front, words, end]))
      assert.equal(crcOfChanged(before, change, length), crc32(Buffer.concat([front, changed, end])), `${length}`)
    }
  })

  test('more bytes than a row has are an error, and not a wrong sum', () => {
    assert.throws(() => crcOfBoth(1, 2, 65_537), RangeError)
  })
})
