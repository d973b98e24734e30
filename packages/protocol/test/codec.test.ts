import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type Brand,
  bool,
  bytes,
  type Codec,
  decode,
  decodeInPlace,
  encode,
  encodeBehind,
  fixed,
  type Infer,
  list,
  mapped,
  named,
  nothing,
  optional,
  rest,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
  union,
} from '../src/codec.ts'
import { malformed, ProtocolError } from '../src/errors.ts'

const refused = { name: 'ProtocolError', reason: 'malformed' }

// What version 3 is made of, with a number of 64 bits that was built from others.
type DeviceId = Uint8Array & Brand<'DeviceId'>
const DeviceId = fixed<DeviceId>(32)
/** Milliseconds since 1970: 64 bits of which the language counts 53. */
const epochMs = mapped(struct({ low: u32, high: u32 }), {
  from({ low, high }) {
    const value = high * 2 ** 32 + low
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(`${value} is past the largest number we count`)
    return value
  },
  to: (value) => ({ low: value % 2 ** 32, high: Math.floor(value / 2 ** 32) }),
})
const Envelope = struct({ recipient: DeviceId, sentAt: epochMs, sealed: bytes({ max: 300 }) })
const Frame = struct({
  request: u32,
  body: union({
    submit: { tag: 0x10, body: Envelope },
    collect: { tag: 0x11, body: struct({ after: epochMs, limit: u16 }) },
    people: { tag: 0x12, body: list(struct({ device: DeviceId, name: text({ max: 40 }) }), { max: 5 }) },
    refuse: { tag: 0xff, body: struct({ reason: named(u8, { busy: 1, stopping: 2 }), advice: text({ max: 20 }) }) },
  }),
})
type Frame = Infer<typeof Frame>

/** fast-check makes some of its records without a prototype; decoded values are plain objects. */
const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(fields, { noNullPrototype: true })
const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const number = (size: number) => fc.integer({ min: 0, max: 2 ** (8 * size) - 1 })
const shortText = (maxBytes: number) =>
  fc.string({ unit: 'binary', maxLength: maxBytes }).filter((value) => Buffer.byteLength(value) <= maxBytes)
const device = exactly(32).map((id) => id as DeviceId)
const moment = fc.maxSafeNat()
const frame: fc.Arbitrary<Frame> = record({
  request: number(4),
  body: fc.oneof(
    record({
      kind: fc.constant('submit' as const),
      body: record({ recipient: device, sentAt: moment, sealed: fc.uint8Array({ maxLength: 300 }) }),
    }),
    record({ kind: fc.constant('collect' as const), body: record({ after: moment, limit: number(2) }) }),
    record({
      kind: fc.constant('people' as const),
      body: fc.array(record({ device, name: shortText(40) }), { maxLength: 5 }),
    }),
    record({
      kind: fc.constant('refuse' as const),
      body: record({ reason: fc.constantFrom('busy' as const, 'stopping' as const), advice: shortText(20) }),
    }),
  ),
})

interface Sample<T> {
  readonly codec: Codec<T>
  readonly values: fc.Arbitrary<T>
  readonly smallest: T
  readonly largest: T
}

function sample<T>(codec: Codec<T>, values: fc.Arbitrary<T>, smallest: NoInfer<T>, largest: NoInfer<T>): Sample<T> {
  return { codec, values, smallest, largest }
}

const filled = (length: number) => new Uint8Array(length).fill(0xff)
const longestName = { device: filled(32) as DeviceId, name: 'ש'.repeat(20) }
const samples = {
  u8: sample(u8, number(1), 0, 255),
  u16: sample(u16, number(2), 0, 65_535),
  u32: sample(u32, number(4), 0, 4_294_967_295),
  u64: sample(u64, fc.oneof(moment, fc.integer({ min: 0, max: 300 })), 0, Number.MAX_SAFE_INTEGER),
  bool: sample(bool, fc.boolean(), false, true),
  nothing: sample(nothing, fc.constant(undefined), undefined, undefined),
  optional: sample(optional(u16), fc.option(number(2), { nil: undefined }), undefined, 65_535),
  'optional list': sample(
    optional(list(optional(bool), { max: 3 })),
    fc.option(fc.array(fc.option(fc.boolean(), { nil: undefined }), { maxLength: 3 }), { nil: undefined }),
    undefined,
    [true, false, true],
  ),
  fixed: sample(fixed(5), exactly(5), new Uint8Array(5), filled(5)),
  'fixed of nothing': sample(fixed(0), exactly(0), new Uint8Array(0), new Uint8Array(0)),
  bytes: sample(bytes({ max: 20 }), fc.uint8Array({ maxLength: 20 }), new Uint8Array(0), filled(20)),
  text: sample(text({ max: 20 }), shortText(20), '', '😀'.repeat(5)),
  mapped: sample(epochMs, moment, 0, Number.MAX_SAFE_INTEGER),
  named: sample(named(u16, { no: 0, yes: 0xffff }), fc.constantFrom('no', 'yes'), 'no', 'yes'),
  struct: sample(
    struct({ a: u8, b: struct({ c: u16 }), d: bytes({ max: 3 }) }),
    record({ a: number(1), b: record({ c: number(2) }), d: fc.uint8Array({ maxLength: 3 }) }),
    { a: 0, b: { c: 0 }, d: new Uint8Array(0) },
    { a: 255, b: { c: 65_535 }, d: filled(3) },
  ),
  'struct of nothing': sample(struct({}), fc.constant({}), {}, {}),
  list: sample(list(u16, { max: 6 }), fc.array(number(2), { maxLength: 6 }), [], [1, 2, 3, 4, 5, 6]),
  'list of lists': sample(
    list(list(u8, { max: 2 }), { max: 3 }),
    fc.array(fc.array(number(1), { maxLength: 2 }), { maxLength: 3 }),
    [],
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
  ),
  rest: sample(rest(u16, { max: 6 }), fc.array(number(2), { maxLength: 6 }), [], [1, 2, 3, 4, 5, 6]),
  union: sample(
    union({ none: { tag: 0, body: struct({}) }, some: { tag: 7, body: u32 } }),
    fc.oneof(
      fc.constant({ kind: 'none' as const, body: {} }),
      record({ kind: fc.constant('some' as const), body: number(4) }),
    ),
    { kind: 'none', body: {} },
    { kind: 'some', body: 1 },
  ),
  'a frame as version 3 needs it': sample(
    Frame,
    frame,
    { request: 0, body: { kind: 'people', body: [] } },
    { request: 1, body: { kind: 'people', body: Array(5).fill(longestName) } },
  ),
}

for (const [name, each] of Object.entries(samples)) {
  const { codec, values, smallest, largest } = each as Sample<unknown>
  describe(`codec: ${name}`, () => {
    test('a value comes back from its bytes', () => {
      fc.assert(fc.property(values, (value) => assert.deepEqual(decode(codec, encode(codec, value)), value)))
    })

    test('the declared bounds are reached and never left', () => {
      assert.equal(encode(codec, smallest).length, codec.min)
      assert.equal(encode(codec, largest).length, codec.max)
      fc.assert(
        fc.property(values, (value) => {
          const { length } = encode(codec, value)
          assert.ok(codec.min <= length && length <= codec.max)
        }),
      )
    })

    test('W05: arbitrary bytes are refused or decode to a value that encodes to the same bytes', () => {
      const damaged = fc
        .tuple(values, fc.nat(), fc.integer({ min: 1, max: 255 }))
        .map(([value, place, change]) => flipped(encode(codec, value), place, change))
      const noise = fc.uint8Array({ maxLength: Math.min(codec.max, 60) + 4 })
      const property = fc.property(fc.oneof(damaged, noise), (input) => assertOneForm(codec, input))
      fc.assert(property, { numRuns: 1000 })
    })

    test('W05: trailing bytes are refused', () => {
      fc.assert(
        fc.property(values, fc.uint8Array({ minLength: 1, maxLength: 3 }), (value, more) => {
          const extended = Uint8Array.from([...encode(codec, value), ...more])
          if (name === 'rest') assertOneForm(codec, extended)
          else assert.throws(() => decode(codec, extended), refused)
        }),
      )
    })

    test('W02: a value cut short at any offset is refused', () => {
      fc.assert(
        fc.property(values, (value) => {
          const whole = encode(codec, value)
          for (let length = 0; length < whole.length; length++) {
            const short = whole.subarray(0, length)
            if (name === 'rest') assertOneForm(codec, short)
            else assert.throws(() => decode(codec, short), refused)
          }
        }),
        { numRuns: 20 },
      )
    })

    test('a decoded value shares no memory with the bytes it came from, a Node Buffer included', () => {
      fc.assert(
        fc.property(values, (value) => {
          const wire = Buffer.from(encode(codec, value))
          const decoded = decode(codec, wire)
          wire.fill(0x55)
          assert.deepEqual(decoded, value)
        }),
      )
    })

    test('decoded in place it is the same value, and bytes that are no value are refused as well', () => {
      fc.assert(
        fc.property(values, (value) => {
          const wire = encode(codec, value)
          assert.deepEqual(decodeInPlace(codec, wire), value)
          assert.throws(() => decodeInPlace(codec, new Uint8Array(codec.max + 1)), refused)
        }),
      )
    })

    test('encoded behind a head it is the same bytes behind zeros', () => {
      fc.assert(
        fc.property(values, fc.nat({ max: 20 }), (value, head) => {
          const wire = encodeBehind(head, codec, value)
          assert.deepEqual(wire.subarray(0, head), new Uint8Array(head))
          assert.deepEqual(Uint8Array.from(wire.subarray(head)), Uint8Array.from(encode(codec, value)))
        }),
      )
    })
  })
}

test('what is decoded in place lies where it was read', () => {
  const wire = Buffer.from([9, 2, 0, 0, 0, 1, 2])
  const value = decodeInPlace(struct({ first: fixed(1), second: bytes({ max: 2 }) }), wire)
  wire.fill(0x55)
  assert.deepEqual(value, { first: Uint8Array.of(0x55), second: Uint8Array.of(0x55, 0x55) })
})

function flipped(input: Uint8Array, place: number, change: number): Uint8Array {
  return input.map((byte, i) => (i === place % input.length ? byte ^ change : byte))
}

function assertOneForm(codec: Codec<unknown>, input: Uint8Array): void {
  let value: unknown
  try {
    value = decode(codec, input)
  } catch (error) {
    assert.ok(error instanceof ProtocolError && error.reason === 'malformed', `W10: ${error}`)
    return
  }
  assert.deepEqual(Buffer.from(encode(codec, value)), Buffer.from(input))
}

test('integers are little-endian and unsigned', () => {
  assert.deepEqual([...encode(u16, 0x0102)], [2, 1])
  assert.deepEqual([...encode(u32, 0xf1020304)], [4, 3, 2, 0xf1])
  assert.equal(decode(u32, Uint8Array.of(0xff, 0xff, 0xff, 0xff)), 2 ** 32 - 1)
})

test('a number that does not fit is refused when it is written', () => {
  for (const value of [-1, 256, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => encode(u8, value), refused)
  assert.throws(() => encode(u32, 2 ** 32), refused)
  assert.throws(() => encode(epochMs, 2 ** 64), refused)
})

describe('a number of 64 bits', () => {
  test('is little-endian, and goes as far as every language can count', () => {
    assert.deepEqual([...encode(u64, 0x0102030405)], [5, 4, 3, 2, 1, 0, 0, 0])
    assert.deepEqual([...encode(u64, 2 ** 32)], [0, 0, 0, 0, 1, 0, 0, 0])
    assert.deepEqual([...encode(u64, 2 ** 53 - 1)], [255, 255, 255, 255, 255, 255, 31, 0])
  })

  test('W03: of 2^53 or more is refused when it is read', () => {
    const numbers = [2n ** 53n, 2n ** 53n + 1n, 2n ** 54n - 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]
    for (const value of numbers)
      assert.throws(() => decode(u64, new Uint8Array(BigUint64Array.of(value).buffer)), refused, `${value}`)
  })

  test('that is none is refused when it is written', () => {
    for (const value of [-1, 0.5, 2 ** 53, 2 ** 64, Number.NaN, Number.POSITIVE_INFINITY])
      assert.throws(() => encode(u64, value), refused, `${value}`)
  })
})

test('W05: yes and no, and whether something is there, are 0 or 1', () => {
  for (const value of [2, 3, 127, 128, 255]) {
    assert.throws(() => decode(bool, Uint8Array.of(value)), refused)
    assert.throws(() => decode(optional(u8), Uint8Array.of(value, 1)), refused)
  }
  assert.deepEqual([...encode(optional(u8), undefined)], [0])
  assert.deepEqual([...encode(optional(u8), 7)], [1, 7])
  assert.throws(() => decode(optional(u8), Uint8Array.of(0, 7)), refused)
  assert.throws(() => decode(optional(u8), Uint8Array.of(1)), refused)
})

test('W05: nothing is no bytes', () => {
  assert.deepEqual([...encode(nothing, undefined)], [])
  assert.throws(() => decode(nothing, Uint8Array.of(0)), refused)
})

test('a value larger than its declaration is refused when it is written', () => {
  assert.throws(() => encode(fixed(2), new Uint8Array(3)), refused)
  assert.throws(() => encode(bytes({ max: 2 }), new Uint8Array(3)), refused)
  assert.throws(() => encode(text({ max: 3 }), 'שש'), refused)
  assert.throws(() => encode(list(u8, { max: 2 }), [1, 2, 3]), refused)
  assert.throws(() => encode(rest(u8, { max: 2 }), [1, 2, 3]), refused)
})

test('a long value is written whole, past the first guess of its size', () => {
  const long = list(u32, { max: 10_000 })
  const numbers = Array.from({ length: 10_000 }, (_, i) => i)
  assert.deepEqual(decode(long, encode(long, numbers)), numbers)
  const wide = bytes({ max: 10_000 })
  assert.deepEqual(decode(wide, encode(wide, filled(10_000))), filled(10_000))
})

test('W05: an unknown number of a name and an unknown tag of a union are refused', () => {
  assert.throws(() => decode(named(u8, { one: 1 }), Uint8Array.of(2)), refused)
  assert.throws(() => decode(union({ one: { tag: 1, body: u8 } }), Uint8Array.of(2, 0)), refused)
})

describe('W03: a length or a count', () => {
  const max = 10_000_000
  const announced = [
    ['bytes', bytes({ max })],
    ['text', text({ max })],
    ['list', list(u32, { max })],
    ['list in a struct in a union', union({ a: { tag: 1, body: struct({ items: list(u32, { max }) }) } })],
  ] as const
  const lengths = [0, 1, max, max + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
  for (const [name, codec] of announced)
    for (const length of lengths)
      test(`of ${length} in front of too few bytes (${name}) is refused and takes no memory`, () => {
        const tag = codec.min === 5 ? [1] : []
        const wire = Uint8Array.from([...tag, ...encode(u32, length)])
        const read = (): unknown => decode<unknown>(codec, wire)
        if (length === 0) return assert.doesNotThrow(read)
        const grown = memoryTakenBy(() => assert.throws(read, refused))
        assert.ok(grown < 2 ** 20, `${grown} bytes`)
        return undefined
      })

  test('above its limit is refused, also where that many bytes or items are there', () => {
    const behind = (codec: Codec<unknown>) => struct({ limited: codec, behind: rest(u8, { max: 100 }) })
    const wire = Uint8Array.from([...encode(u32, 3), ...new Uint8Array(50)])
    for (const codec of [
      bytes({ max: 2 }),
      text({ max: 2 }),
      list(u8, { max: 2 }),
      list(bytes({ max: 9 }), { max: 2 }),
    ])
      assert.throws(() => decode(behind(codec), wire), refused)
    assert.throws(() => decode(rest(bytes({ max: 9 }), { max: 2 }), new Uint8Array(12)), refused)
  })

  test('W04: of 10^6 items, where 10^6 would be too many, is refused with the items there', () => {
    const wire = new Uint8Array(4 + 1_000_000)
    new DataView(wire.buffer).setUint32(0, 1_000_000, true)
    const grown = memoryTakenBy(() => {
      assert.throws(() => decode(list(u8, { max: 1000 }), wire), refused)
      assert.throws(() => decode(rest(u8, { max: 1000 }), wire), refused)
      // inside something larger, where only the count itself can tell
      assert.throws(() => decode(struct({ few: list(u8, { max: 1000 }), more: rest(u8, { max: 2e6 }) }), wire), refused)
    })
    assert.ok(grown < 2 ** 20, `${grown} bytes`)
  })
})

/** By how many bytes memory has grown at most, seen after each of five times: a collection may hide one, not all. */
function memoryTakenBy(action: () => void): number {
  const inUse = (): number => process.memoryUsage().heapUsed + process.memoryUsage().external
  const before = inUse()
  const growths = Array.from({ length: 5 }, () => {
    action()
    return inUse() - before
  })
  return Math.max(...growths)
}

describe('W04: names from the language', () => {
  const dangerous = ['constructor', 'toString', 'hasOwnProperty', 'valueOf', 'prototype'] as const

  test('are ordinary fields of a struct', () => {
    const codec = struct({ constructor: u8, toString: u8, hasOwnProperty: u8, valueOf: u8, prototype: u8 })
    const value = decode(codec, Uint8Array.of(1, 2, 3, 4, 5))
    assert.equal(Object.getPrototypeOf(value), Object.prototype)
    assert.deepEqual(Object.keys(value), [...dangerous])
    assert.deepEqual([...encode(codec, value)], [1, 2, 3, 4, 5])
  })

  test('are ordinary names of numbers, and mean nothing where they are not declared', () => {
    const declared = named(u8, { constructor: 1, toString: 2, ['__proto__']: 3 })
    for (const [i, name] of (['constructor', 'toString', '__proto__'] as const).entries()) {
      assert.equal(decode<string>(declared, Uint8Array.of(i + 1)), name)
      assert.deepEqual([...encode(declared as Codec<string>, name)], [i + 1])
    }
    const plain: Codec<string> = named(u8, { one: 1 })
    for (const name of [...dangerous, '__proto__']) assert.throws(() => encode(plain, name), refused)
  })

  test('are ordinary kinds of a union, and mean nothing where they are not declared', () => {
    const declared = union({
      constructor: { tag: 1, body: u8 },
      toString: { tag: 2, body: u8 },
      ['__proto__']: { tag: 3, body: u8 },
    })
    for (const [i, kind] of (['constructor', 'toString', '__proto__'] as const).entries()) {
      const wire = Uint8Array.of(i + 1, 9)
      const value: unknown = decode(declared, wire)
      assert.deepEqual(value, { kind, body: 9 })
      assert.deepEqual(Buffer.from(encode(declared as Codec<unknown>, value)), Buffer.from(wire))
    }
    const plain: Codec<unknown> = union({ one: { tag: 1, body: u8 } })
    for (const kind of [...dangerous, '__proto__'])
      assert.throws(() => encode(plain, { kind, body: { write: 'anything' } }), refused)
  })

  test('that would change the prototype or the order cannot name a field', () => {
    for (const name of ['__proto__', '0', '17', '']) {
      assert.throws(() => struct({ a: u8, [name]: u8 }), { message: `${name} cannot name a field` })
    }
  })
})

test('declarations that could not be read back are refused when they are made', () => {
  assert.throws(() => named(u8, { one: 1, uno: 1 }), { message: 'one number has two names' })
  assert.throws(() => union({ a: { tag: 1, body: u8 }, b: { tag: 1, body: u8 } }), {
    message: 'one number has two names',
  })
  assert.throws(() => list(struct({}), { max: 2 ** 31 }), { message: 'an item takes at least one byte' })
  assert.throws(() => rest(fixed(0), { max: 2 ** 31 }), { message: 'an item takes at least one byte' })
})
