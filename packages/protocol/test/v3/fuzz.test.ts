import assert from 'node:assert/strict'
import { type Codec, decode, encode, ProtocolError, utf8Decode, utf8Encode } from '../../src/index.ts'
import {
  accountIdOf,
  accountName,
  continueList,
  type DeviceList,
  formatLink,
  parseLink,
  readFrames,
  skeletonOf,
  writeFrame,
} from '../../src/v3/index.ts'
import { fuzz, joined } from '../fuzz.ts'
import { isRefusal, peerDecoders } from './decoders.ts'
import { changes, creation, nextBody, sha256, unsigned, withUnsigned } from './lists.ts'

/** `deepEqual` is slow: it is asked only for a difference that is there, and describes it. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) assert.deepEqual(Buffer.from(actual), Buffer.from(expected))
}

function assertOneForm(codec: Codec<unknown>, input: Uint8Array): void {
  let value: unknown
  try {
    value = decode(codec, input)
  } catch (error) {
    if (isRefusal(error)) return
    throw error
  }
  assertSame(encode(codec, value), input)
}

for (const { name, codec, examples } of peerDecoders) {
  const valid = examples.map((value) => encode(codec, value))
  fuzz(name, valid, (input) => assertOneForm(codec, input))
}

const frames = [
  { code: 0x30, request: 7, body: new Uint8Array(8) },
  { code: 0xc0, request: 2 ** 32 - 1, body: new Uint8Array(0) },
  { code: 0x81, request: 0, body: new Uint8Array(40).fill(9) },
].map(writeFrame)
fuzz('readFrames', [...frames, joined(...frames), joined(...frames, ...frames)], (input) => {
  try {
    assertSame(joined(...readFrames(input).map(writeFrame)), input)
  } catch (error) {
    if (!isRefusal(error)) throw error
  }
})

const begun = withUnsigned(undefined, creation)
const entries = Object.values(changes).flatMap((change) => [
  unsigned(nextBody(begun, change)),
  unsigned(nextBody(begun, change, 'account')),
])
function continuation(list: DeviceList | undefined, entry: Uint8Array): DeviceList | undefined {
  try {
    return continueList(list, entry, sha256).list
  } catch (error) {
    if (isRefusal(error) || (error instanceof ProtocolError && error.reason === 'bad-list')) return undefined
    throw error
  }
}
fuzz('continueList', [unsigned(creation), ...entries], (input) => {
  const next = continuation(begun, input)
  if (next !== undefined) {
    assert.equal(next.version, 2)
    assert.deepEqual([next.account, next.name, next.accountKey], [begun.account, begun.name, begun.accountKey])
  }
  const first = continuation(undefined, input)
  if (first !== undefined) assert.deepEqual([first.version, first.account], [1, accountIdOf(first.accountKey, sha256)])
})

const links = [
  `messageu://example.org/#${'A'.repeat(43)}`,
  `https://[::1]:8443/#${'_'.repeat(42)}8/${'Q'.repeat(22)}`,
  `messageu://127.0.0.1:1/#${'b-'.repeat(21)}A`,
]
fuzz('parseLink', links.map(utf8Encode), (input) => {
  const text = textOf(input)
  if (text === undefined) return
  try {
    const link = parseLink(text)
    assert.deepEqual(parseLink(formatLink(link)), link)
  } catch (error) {
    if (!isRefusal(error)) throw error
  }
})

const names = ['alice', "O'Neil", 'a-b.c_d e', 'Łucja', 'Марія', '李小龍', 'राम', 'שָׁלוֹם', 'علی', 'タケシ', '김철수']
fuzz('accountName', names.map(utf8Encode), (input) => {
  const text = textOf(input)
  if (text === undefined) return
  try {
    const name = accountName(text)
    assert.equal(name, text)
    assert.notEqual(skeletonOf(name), '')
  } catch (error) {
    if (!isRefusal(error)) throw error
  }
})

function textOf(input: Uint8Array): string | undefined {
  try {
    return utf8Decode(input)
  } catch (error) {
    if (isRefusal(error)) return undefined
    throw error
  }
}
