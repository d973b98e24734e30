import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { decode } from '@messageu/protocol'
import { PublicKey } from '@messageu/protocol/v2'
import {
  aesKey,
  newKeyPair,
  openPieces,
  openText,
  paddingFits,
  publicKeyOf,
  sealedBytes,
  sealPieces,
  sealText,
  unwrapKey,
  wrapKey,
} from '../../src/v2/crypto.ts'
import { formatIdentity, parseIdentity } from '../../src/v2/identity.ts'
import { cryptoVectors, fileOf, sha256 } from './vectors.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(pieces))
}

for (const [i, pair] of cryptoVectors.keypairs.entries()) {
  const privateKey = createPrivateKey({ key: hex(pair.privatePkcs8Der), format: 'der', type: 'pkcs8' })

  test(`vector: key pair ${i}: the public key follows from the private one`, () => {
    assert.deepEqual(publicKeyOf(privateKey), decode(PublicKey, hex(pair.publicSpkiDer)))
  })

  test(`vector: key pair ${i}: me.info holds it in the original's bytes, both ways`, () => {
    const lines = `דוד בן\n279C0DEE99655AFFD5C1063D784F055E\n${pair.infoLineBase64}\n`
    const identity = parseIdentity(Buffer.from(lines))
    assert.equal(formatIdentity(identity).toString(), Buffer.from(lines).toString())
    assert.deepEqual(publicKeyOf(identity.privateKey), decode(PublicKey, hex(pair.publicSpkiDer)))
    const windows = parseIdentity(
      Buffer.from(
        lines.toLowerCase().replace(pair.infoLineBase64.toLowerCase(), pair.infoLineBase64).replaceAll('\n', '\r\n'),
      ),
    )
    assert.deepEqual(windows.id, identity.id)
  })

  for (const [k, { plain, cipher }] of pair.oaepSha1.entries())
    test(`vector: key pair ${i}: wrapped key ${k} opens, and ours opens again`, () => {
      assert.deepEqual(unwrapKey(hex(cipher), privateKey)?.reveal(), hex(plain))
      const wrapped = wrapKey(aesKey(hex(plain)), publicKeyOf(privateKey))
      assert.equal(wrapped.length, 128)
      assert.deepEqual(unwrapKey(wrapped, privateKey)?.reveal(), hex(plain))
    })
}

for (const [i, { key, textUtf8Hex, cipher, textSize, allBytes, cipherSha256 }] of cryptoVectors.texts.entries())
  test(`vector: text ${i} opens and is sealed to the same bytes`, () => {
    const text = textUtf8Hex === undefined ? Buffer.alloc(textSize ?? 0, hex(allBytes ?? '')) : hex(textUtf8Hex)
    const sealed = sealText(aesKey(hex(key)), text)
    assert.equal(sha256(sealed), cipherSha256 ?? sha256(hex(cipher ?? '')))
    assert.equal(openText(aesKey(hex(key)), sealed), text.toString())
  })

for (const { key, size, plainSha256, cipherSize, cipherSha256 } of cryptoVectors.files)
  test(`vector: a file of ${size} bytes opens and is sealed to the same bytes, in pieces of any size`, async () => {
    const plain = fileOf(size)
    assert.equal(sha256(plain), plainSha256)
    assert.equal(sealedBytes(size), cipherSize)
    for (const piece of size < 2000 ? [1, 15, 16, 17, 4096] : [65_536, 100_003]) {
      const sealed = await joined(sealPieces(aesKey(hex(key)), inPieces(plain, piece)))
      assert.equal(sha256(sealed), cipherSha256)
      assert.deepEqual(await joined(openPieces(aesKey(hex(key)), inPieces(sealed, piece))), plain)
      assert.equal(paddingFits(aesKey(hex(key)), sealed.subarray(-32)), true)
    }
  })

test('a key pair of ours has a public key of 160 bytes with the exponent 17', async () => {
  const { publicKey, privateKey } = await newKeyPair()
  assert.equal(publicKey.length, 160)
  assert.equal(privateKey.asymmetricKeyDetails?.publicExponent, 17n)
})

test('a wrong key opens next to nothing, and its padding tells in time', () => {
  const sealed = sealText(aesKey(Buffer.alloc(16, 1)), Buffer.from('a text of more than one block, for sure'))
  let opened = 0
  for (let i = 0; i < 1000; i++) {
    const wrong = aesKey(Buffer.from(`${i}`.padStart(16)))
    if (openText(wrong, sealed) !== undefined) opened += 1
    if (openText(wrong, sealed) !== undefined) assert.equal(paddingFits(wrong, sealed.subarray(-32)), true)
  }
  assert.ok(opened < 10)
})

test('a key cannot be printed', () => {
  const key = aesKey(Buffer.from('0123456789abcdef'))
  for (const shown of [
    inspect(key),
    JSON.stringify({ key }),
    `${key}`,
    inspect({ key }, { showHidden: true, depth: 9 }),
  ])
    assert.doesNotMatch(shown, /0123|30, ?31|MDEy|3031/)
})

for (const [name, text] of Object.entries({
  empty: '',
  'without a key': 'alice\n279C0DEE99655AFFD5C1063D784F055E\n',
  'with a short id': `alice\n279C\n${cryptoVectors.keypairs[0]?.infoLineBase64}\n`,
  'with a fourth line': `alice\n279C0DEE99655AFFD5C1063D784F055E\n${cryptoVectors.keypairs[0]?.infoLineBase64}\nmore\n`,
  'with a cut key': `alice\n279C0DEE99655AFFD5C1063D784F055E\n${cryptoVectors.keypairs[0]?.infoLineBase64.slice(0, 400)}\n`,
  'with a key of zeros': `alice\n279C0DEE99655AFFD5C1063D784F055E\n${Buffer.alloc(1000).toString('base64')}\n`,
  'with an endless key': `alice\n279C0DEE99655AFFD5C1063D784F055E\n${'A'.repeat(100_000)}\n`,
}))
  test(`C9: a me.info ${name} is refused`, () => {
    assert.throws(() => parseIdentity(Buffer.from(text)))
  })
