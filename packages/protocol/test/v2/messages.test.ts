import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Codec, decode, encode } from '../../src/codec.ts'
import { ProtocolError } from '../../src/errors.ts'
import {
  Addressed,
  ClientId,
  Delivered,
  Listed,
  Listing,
  messageTypes,
  Name,
  nameFromText,
  nameToText,
  PublicKeyOf,
  Receipt,
  Registration,
  RequestHeader,
  ResponseHeader,
  Target,
} from '../../src/v2/messages.ts'
import { arbitrary, clientId, name, nameField, publicKey } from './samples.ts'

const refused = { name: 'ProtocolError', reason: 'malformed' }
const utf8 = (text: string) => new TextEncoder().encode(text)

const listed = { client: clientId(1), name: name('somebody') }

interface Message {
  readonly codec: Codec<unknown>
  readonly values: fc.Arbitrary<unknown>
  /** Where in the encoding a name field begins, the one field whose tail is read and forgotten. */
  readonly nameAt?: number
}

const messages: Record<string, Message> = {
  RequestHeader: { codec: RequestHeader, values: arbitrary.requestHeader },
  ResponseHeader: { codec: ResponseHeader, values: arbitrary.responseHeader },
  Registration: { codec: Registration, values: arbitrary.registration, nameAt: 0 },
  Target: { codec: Target, values: arbitrary.target },
  PublicKeyOf: { codec: PublicKeyOf, values: arbitrary.publicKeyOf },
  Addressed: { codec: Addressed, values: arbitrary.addressed },
  Receipt: { codec: Receipt, values: arbitrary.receipt },
  Delivered: { codec: Delivered, values: arbitrary.delivered },
  Listed: { codec: Listed, values: arbitrary.listing.map((all) => all[0] ?? listed), nameAt: 16 },
  Name: { codec: Name, values: arbitrary.name, nameAt: 0 },
}

for (const [title, { codec, values, nameAt }] of Object.entries(messages))
  describe(title, () => {
    test('comes back from its bytes, which are always as many', () => {
      assert.equal(codec.min, codec.max)
      fc.assert(
        fc.property(values, (value) => {
          const wire = encode(codec, value)
          assert.equal(wire.length, codec.max)
          assert.deepEqual(decode(codec, wire), value)
        }),
      )
    })

    test('W02 W05: cut short at any offset, or one byte longer, it is refused', () => {
      fc.assert(
        fc.property(values, (value) => {
          const wire = encode(codec, value)
          for (let length = 0; length < wire.length; length++)
            assert.throws(() => decode(codec, wire.subarray(0, length)), refused)
          assert.throws(() => decode(codec, Uint8Array.from([...wire, 0])), refused)
        }),
        { numRuns: 5 },
      )
    })

    test('W05 W10: with one byte changed it is refused or has the bytes that are encoded again', () => {
      fc.assert(
        fc.property(values, fc.nat(), fc.nat(255), (value, place, byte) => {
          const wire = encode(codec, value)
          wire[place % wire.length] = byte
          let again: Uint8Array
          try {
            again = encode(codec, decode(codec, wire))
          } catch (error) {
            assert.ok(error instanceof ProtocolError && error.reason === 'malformed', `${error}`)
            return
          }
          if (nameAt !== undefined) wire.fill(0, wire.indexOf(0, nameAt), nameAt + 255)
          assert.deepEqual(Buffer.from(again), Buffer.from(wire))
        }),
        { numRuns: 1000 },
      )
    })
  })

test('sizes on the wire are those of the original system', () => {
  assert.deepEqual(
    [RequestHeader, ResponseHeader, Registration, Target, PublicKeyOf, Addressed, Receipt, Delivered, Listed].map(
      (codec) => codec.max,
    ),
    [22, 7, 415, 16, 176, 21, 20, 25, 271],
  )
})

test('message types are 1 to 4 and no other number is one', () => {
  assert.deepEqual(Object.values(messageTypes), [1, 2, 3, 4])
  const wire = encode(Delivered, { sender: clientId(1), message: 7, type: 'file', contentBytes: 0 })
  for (const type of [0, 5, 255]) {
    wire[20] = type
    assert.throws(() => decode(Delivered, wire), refused)
  }
})

test('G07: a message id takes every number of four bytes', () => {
  for (const message of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
    const receipt = { recipient: clientId(1), message }
    assert.deepEqual(decode(Receipt, encode(Receipt, receipt)), receipt)
  }
  assert.throws(() => encode(Receipt, { recipient: clientId(1), message: 2 ** 32 }), refused)
})

describe('Listing', () => {
  test('comes back from its bytes, entry after entry', () => {
    fc.assert(fc.property(arbitrary.listing, (all) => assert.deepEqual(decode(Listing, encode(Listing, all)), all)))
  })

  test('W02: cut short anywhere but between two entries it is refused', () => {
    const wire = encode(Listing, [listed, listed])
    for (let length = 0; length <= wire.length; length++) {
      const read = () => decode(Listing, wire.subarray(0, length))
      if (length % 271 === 0) assert.equal(read().length, length / 271)
      else assert.throws(read, refused)
    }
  })
})

describe('a name', () => {
  const field = (text: string | Uint8Array, tail?: Uint8Array) => decode(Name, nameField(text, tail))

  test('G07: takes up to 254 bytes, of characters of any size', () => {
    for (const text of ['z'.repeat(254), 'ש'.repeat(127), `${'€'.repeat(84)}ab`, `${'😀'.repeat(63)}é`]) {
      assert.equal(utf8(text).length, 254)
      assert.equal(nameToText(field(text)), text)
      assert.deepEqual(nameFromText(text), field(text))
      assert.throws(() => nameFromText(`${text}z`), refused)
    }
  })

  test('G04: a field of 255 bytes without a NUL is refused', () => {
    assert.throws(() => decode(Name, utf8('z'.repeat(255))), refused)
    assert.throws(() => decode(Name, utf8(`${'ש'.repeat(127)}z`)), refused)
  })

  test('G04: invalid UTF-8 is refused before the NUL, behind it, and across it', () => {
    for (const broken of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80], [0xe2, 0x82]]) {
      const bytes = Uint8Array.from(broken)
      assert.throws(() => field(Uint8Array.from([0x61, 0x62, ...broken])), refused)
      assert.throws(() => field('ab', bytes), refused)
    }
    // a character whose end is missing, because the field or the name ends
    assert.throws(() => decode(Name, nameField('ab', Uint8Array.from([...new Uint8Array(251), 0xc3]))), refused)
    assert.throws(() => field(Uint8Array.of(0x61, 0x62, 0xc3)), refused)
  })

  test('what stands behind the NUL is forgotten, and zeros are written', () => {
    const decoded = field('bob', utf8('was here, ש'))
    assert.deepEqual(decoded, field('bob'))
    assert.deepEqual(encode(Name, decoded), nameField('bob'))
  })

  test('has at least two code points', () => {
    for (const text of ['', 'a', 'ש', '€', '😀']) {
      assert.throws(() => field(text), refused)
      assert.throws(() => nameFromText(text), refused)
    }
    for (const text of ['ab', '😀😀', 'e\u0301', ' \n', 'a ']) assert.equal(nameToText(field(text)), text)
  })

  test('is not normalised: two spellings of one character are two names', () => {
    assert.notDeepEqual(nameFromText('Rene\u0301'), nameFromText('Ren\u00e9'))
    assert.notDeepEqual(nameFromText('Bob'), nameFromText('bob'))
    assert.notDeepEqual(nameFromText('bob '), nameFromText('bob'))
  })

  test('from text is the name that a server reads, or is refused', () => {
    const text = fc.string({ unit: fc.oneof(fc.string({ unit: 'binary', size: '+1' }), fc.constant('\ud800')) })
    fc.assert(
      fc.property(text, (typed) => {
        const bytes = Buffer.from(typed)
        const fits = !typed.includes('\0') && bytes.length <= 254 && [...typed].length >= 2 && typed.isWellFormed()
        if (!fits) return assert.throws(() => nameFromText(typed), refused)
        const made = nameFromText(typed)
        assert.equal(nameToText(made), typed)
        return assert.deepEqual(decode(Name, encode(Name, made)), made)
      }),
      { numRuns: 1000 },
    )
  })
})

test('an id or a key of the wrong length is not written', () => {
  assert.throws(() => encode(ClientId, new Uint8Array(15) as ClientId), refused)
  assert.throws(
    () => encode(PublicKeyOf, { client: clientId(1), publicKey: publicKey.slice(1) as typeof publicKey }),
    refused,
  )
})
