import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { AccountId, DeviceId, PublicKey, Signature } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { readDeviceCode, readOffer, writeDeviceCode, writeOffer } from '../../src/messaging/codes.ts'

const offer = {
  host: 'server.example',
  port: 443,
  serverKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(1)),
  account: decode(AccountId, new Uint8Array(AccountId.max).fill(2)),
}
const certificate = {
  device: decode(DeviceId, new Uint8Array(DeviceId.max).fill(3)),
  signatureKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(4)),
  requestKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(5)),
  bySignatureKey: decode(Signature, new Uint8Array(Signature.max).fill(6)),
  byRequestKey: decode(Signature, new Uint8Array(Signature.max).fill(7)),
}

describe('a code that people carry from one device to another', () => {
  test('is read as it was written, with whatever line breaks and spaces came into it', async () => {
    const code = await writeOffer(offer)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: code.length }), async (width) => {
        const broken = code.replaceAll(new RegExp(`.{${width}}`, 'g'), (line) => `${line} \n`)
        assert.deepEqual(await readOffer(broken), offer)
      }),
    )
    assert.deepEqual(await readDeviceCode(await writeDeviceCode(certificate)), certificate)
  })

  test('of which one character is another one, or missing, is refused', async () => {
    const code = await writeOffer(offer)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: code.length - 1 }),
        fc.constantFrom('', ...alphabet),
        async (at, other) => {
          fc.pre(code[at] !== other)
          const changed = code.slice(0, at) + other + code.slice(at + 1)
          await assert.rejects(readOffer(changed), { reason: 'bad-code' })
        },
      ),
    )
  })

  test('is not taken for one of the other kind, and nothing else is taken for a code', async () => {
    await assert.rejects(readOffer(await writeDeviceCode(certificate)), { reason: 'bad-code' })
    await assert.rejects(readDeviceCode(await writeOffer(offer)), { reason: 'bad-code' })
    await fc.assert(
      fc.asyncProperty(fc.string(), async (text) => {
        await assert.rejects(readOffer(text), { reason: 'bad-code' })
        await assert.rejects(readOffer(`mu-link-${text}`), { reason: 'bad-code' })
      }),
    )
  })
})
