import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { utf8Encode } from '@messageu/protocol'
import { primitives as native } from '../src/node/primitives.ts'
import { primitives as everywhere } from '../src/primitives.ts'

const pkcs8 = (seed: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
const message = utf8Encode('what is signed or sealed')

describe('what Node does on its own and what WebCrypto does are the same', () => {
  test('keys and signatures', async () => {
    const seed = randomBytes(32)
    const [one, other] = [await native.signer(pkcs8(seed)), await everywhere.signer(pkcs8(seed))]
    assert.deepEqual(one.publicKey, other.publicKey)
    assert.deepEqual(await one.sign(message), await other.sign(message))
  })

  test('whether a signature holds, whichever of its bytes has changed, and whatever stands for the key', async () => {
    const { publicKey, sign } = await native.signer(pkcs8(randomBytes(32)))
    const signature = await sign(message)
    const cases = [
      { key: publicKey, signature, holds: true },
      ...Array.from(signature, (byte, at) => ({
        key: publicKey,
        signature: signature.with(at, byte ^ 1),
        holds: false,
      })),
      ...[0, 1, 2, 0xff].map((byte) => ({ key: new Uint8Array(32).fill(byte), signature, holds: false })),
    ]
    for (const { key, signature: each, holds } of cases)
      for (const primitives of [native, everywhere]) assert.equal(await primitives.verify(key, message, each), holds)
  })

  for (const keyBytes of [16, 32])
    test(`what is sealed under ${keyBytes} bytes, and opened`, async () => {
      const sealing = { key: randomBytes(keyBytes), nonce: randomBytes(12), aad: randomBytes(9) }
      for (const plain of [new Uint8Array(), message, randomBytes(70_000)]) {
        const sealed = await native.encrypt(sealing, plain)
        assert.deepEqual(sealed, await everywhere.encrypt(sealing, plain))
        for (const primitives of [native, everywhere])
          assert.deepEqual(await primitives.decrypt(sealing, sealed), Uint8Array.from(plain))
      }
    })

  for (const name of ['sha256', 'sha512'] as const)
    test(`${name}, alone and under keys of any length`, () => {
      for (const text of [new Uint8Array(), message, randomBytes(70_000)]) {
        assert.deepEqual(native.hash(name, text), everywhere.hash(name, text))
        for (const key of [new Uint8Array(), randomBytes(32), randomBytes(200)])
          assert.deepEqual(native.hmac(name, key, text), everywhere.hmac(name, key, text))
      }
    })

  test('what is refused: another key, nonce, text or tag, and a tag that was cut off', async () => {
    const sealing = { key: randomBytes(16), nonce: randomBytes(12), aad: randomBytes(9) }
    const sealed = await native.encrypt(sealing, message)
    const cases = [
      { ...sealing, sealed: sealed.with(0, (sealed[0] ?? 0) ^ 1) },
      { ...sealing, sealed: sealed.with(-1, (sealed.at(-1) ?? 0) ^ 1) },
      { ...sealing, sealed: sealed.subarray(0, -1) },
      { ...sealing, sealed: sealed.subarray(0, 15) },
      { ...sealing, sealed: new Uint8Array() },
      { ...sealing, key: randomBytes(16), sealed },
      { ...sealing, nonce: randomBytes(12), sealed },
      { ...sealing, aad: new Uint8Array(), sealed },
    ]
    for (const { sealed: altered, ...under } of cases)
      for (const primitives of [native, everywhere]) await assert.rejects(primitives.decrypt(under, altered))
  })
})

test('a key that was pushed out by others still verifies', async () => {
  const { publicKey, sign } = await native.signer(pkcs8(randomBytes(32)))
  const signature = await sign(message)
  for (let i = 0; i < 600; i++) {
    assert.equal(await native.verify(publicKey, message, signature), true)
    assert.equal(await native.verify(randomBytes(32), message, signature), false)
  }
})
