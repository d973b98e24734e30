import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { AccountId, DeviceCertificate, DeviceId, PublicKey, Signature } from '@messageu/protocol/v3'
import { document, documented, integer, onlyTable } from '../../../protocol/test/v3/notation.ts'
import { assertSameType } from '../../../protocol/test/v3/same-type.ts'
import { Offer, readDeviceCode, readOffer, writeDeviceCode, writeOffer } from '../../src/messaging/codes.ts'

const offer = {
  host: 'chat.example',
  port: 443,
  serverKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(1)),
  account: decode(AccountId, new Uint8Array(AccountId.max).fill(2)),
}
const device = {
  device: decode(DeviceId, new Uint8Array(DeviceId.max).fill(3)),
  signatureKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(4)),
  requestKey: decode(PublicKey, new Uint8Array(PublicKey.max).fill(5)),
  bySignatureKey: decode(Signature, new Uint8Array(Signature.max).fill(6)),
  byRequestKey: decode(Signature, new Uint8Array(Signature.max).fill(7)),
}

/** A code as §4.8 says it, out of the row of its kind. */
function written(kind: string, body: Uint8Array): string {
  const row = onlyTable('code', 'begins with').find((each) => each('code') === kind)
  assert.ok(row !== undefined)
  const check = createHash('sha256')
    .update(Uint8Array.of(integer(row('digit'))))
    .update(body)
    .digest()
  return row('begins with') + Buffer.concat([body, check.subarray(0, 4)]).toString('base64url')
}

describe('docs/protocol.md: codes between devices', () => {
  test('an offer has the fields that are written down', () => assertSameType(Offer, documented('Offer')))

  test('there are two kinds, each with its body', () => {
    const kinds = onlyTable('code', 'begins with').map((row) => [row('code'), row('body')])
    assert.deepEqual(kinds, [
      ['offer', 'Offer'],
      ['device', 'DeviceCertificate'],
    ])
  })

  test('an offer is written and read as they say', async () => {
    const code = written('offer', encode(Offer, offer))
    assert.equal(await writeOffer(offer), code)
    assert.deepEqual(await readOffer(code), offer)
    assert.ok(document.includes(`\n    ${code}\n`), 'and it is the one that stands there')
  })

  test('the code of a device is written and read as they say', async () => {
    const code = written('device', encode(DeviceCertificate, device))
    assert.equal(await writeDeviceCode(device), code)
    assert.deepEqual(await readDeviceCode(code), device)
  })
})
