import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, utf8Encode } from '@messageu/protocol'
import { PublicKey, Signature } from '@messageu/protocol/v3'
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha512 } from '@noble/hashes/sha2.js'
import { newSeed, Secret } from '../src/secret.ts'
import { signingKey, verifySignature } from '../src/signing.ts'
import { signatureUnderNeutral, unreduced } from './golden/lists.ts'
import { fromHex, toHex } from './hex.ts'
import { seeded } from './seeded.ts'

/** RFC 8032 §7.1, tests 1 to 3. */
const known = [
  {
    seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
  {
    seed: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    message: 'af82',
    signature:
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  },
]

for (const { seed, publicKey, message, signature } of known)
  test(`a seed gives the key and the signature of RFC 8032: ${publicKey.slice(0, 8)}`, async () => {
    const key = await signingKey(new Secret(fromHex(seed)))
    assert.equal(toHex(key.publicKey), publicKey)
    assert.equal(toHex(await key.sign(fromHex(message))), signature)
    assert.equal(await verifySignature(key.publicKey, fromHex(message), decode(Signature, fromHex(signature))), true)
  })

test('a seed of another length gives no key', async () => {
  for (const length of [0, 31, 33, 64]) await assert.rejects(signingKey(new Secret(new Uint8Array(length))))
})

test('making a key leaves the seed as it was', async () => {
  const seed = newSeed(seeded('seed'))
  const before = toHex(seed.reveal())
  await signingKey(seed)
  assert.equal(toHex(seed.reveal()), before)
})

describe('a signature is refused', () => {
  const random = seeded('signatures')
  const message = utf8Encode('what was signed')
  const ready = signingKey(newSeed(random)).then(async (key) => ({ key, signature: await key.sign(message) }))

  test('over another message', async () => {
    const { key, signature } = await ready
    assert.equal(await verifySignature(key.publicKey, utf8Encode('what was not signed'), signature), false)
  })

  test('under another key', async () => {
    const { signature } = await ready
    const other = await signingKey(newSeed(random))
    assert.equal(await verifySignature(other.publicKey, message, signature), false)
  })

  test('when any of its bytes has changed', async () => {
    const { key, signature } = await ready
    for (let at = 0; at < signature.length; at++) {
      const changed = decode(Signature, signature.with(at, (signature[at] ?? 0) ^ 0x10))
      assert.equal(await verifySignature(key.publicKey, message, changed), false, `byte ${at}`)
    }
  })

  test('when its second half is not below the order of the group', async () => {
    const { key, signature } = await ready
    assert.equal(await verifySignature(key.publicKey, message, unreduced(signature)), false)
  })

  test('under bytes that are no point', async () => {
    const { signature } = await ready
    const noPoint = decode(PublicKey, new Uint8Array(32).with(0, 2))
    assert.equal(await verifySignature(noPoint, message, signature), false)
  })

  test('under a key of small order, however it is written', async () => {
    // S = 1 and R = B fit every message whose hash is a multiple of the order: of the 8 at most, one in 8
    const messages = Array.from({ length: 64 }, (_, i) => Uint8Array.of(i))
    for (const key of smallOrderKeys())
      for (const each of messages)
        assert.equal(await verifySignature(key, each, signatureUnderNeutral), false, toHex(key))
  })

  test('when its first half is of small order, though the equation holds', async () => {
    const { key } = await ready
    const seed = seeded('signatures')(32)
    const { scalar } = ed25519.utils.getExtendedPublicKey(seed)
    for (const first of smallOrderKeys().slice(0, 2)) {
      const hash = challenge(first, key.publicKey, message)
      const signature = signatureOf(first, hash * scalar)
      assert.equal(await verifySignature(key.publicKey, message, signature), false, toHex(first))
    }
  })
})

/**
 * Under a key with a part of small order, some engines would take what others refuse. The equation without the cofactor
 * leaves one answer: the hash decides.
 */
test('a key with a part of small order has one answer on every engine', async () => {
  const seed = seeded('mixed')(32)
  const { scalar, point } = ed25519.utils.getExtendedPublicKey(seed)
  const order8 = ed25519.Point.fromBytes(fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'))
  const mixed = decode(PublicKey, point.add(order8).toBytes())
  const nonce = 0x1234567890abcdefn
  const first = ed25519.Point.BASE.multiply(nonce).toBytes()
  const answers = new Set<boolean>()
  for (let i = 0; i < 64; i++) {
    const message = Uint8Array.of(i)
    const hash = challenge(first, mixed, message)
    const holds = await verifySignature(mixed, message, signatureOf(first, nonce + hash * scalar))
    assert.equal(holds, hash % 8n === 0n)
    answers.add(holds)
  }
  assert.equal(answers.size, 2)
})

const order = 2n ** 252n + 27742317777372353535851937790883648493n
const fieldPrime = 2n ** 255n - 19n

/** Every point whose order divides 8, also in the ways of writing it that are not the canonical one. */
function smallOrderKeys(): PublicKey[] {
  const order8 = integerOf(fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'))
  const heights = [1n, fieldPrime - 1n, 0n, order8, fieldPrime - order8, fieldPrime, fieldPrime + 1n]
  return heights.flatMap((y) => [y, y + 2n ** 255n]).map((y) => decode(PublicKey, bytesOf(y)))
}

/** RFC 8032 §5.1.7, the number that everything depends on. */
function challenge(first: Uint8Array, key: PublicKey, message: Uint8Array): bigint {
  return integerOf(sha512(Uint8Array.of(...first, ...key, ...message))) % order
}

function signatureOf(first: Uint8Array, second: bigint): Signature {
  return decode(Signature, Uint8Array.of(...first, ...bytesOf(second % order)))
}

function integerOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n)
}

function bytesOf(number: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((number >> BigInt(8 * i)) & 255n))
}
