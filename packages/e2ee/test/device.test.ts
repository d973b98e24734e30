import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode } from '@messageu/protocol'
import { contexts, DeviceBinding, inContext } from '@messageu/protocol/v3'
import { certify, newDevice } from '../src/device.ts'
import { signingKey, verifySignature } from '../src/signing.ts'
import { testAccount } from './account.ts'
import { seeded } from './seeded.ts'

test('a device has an id and two seeds, and shares none of them with another one', () => {
  const random = seeded('devices')
  const parts = [newDevice(random), newDevice(random)].flatMap(({ device, signatureSeed, requestSeed }) => [
    device,
    signatureSeed.reveal(),
    requestSeed.reveal(),
  ])
  assert.deepEqual(
    parts.map((part) => part.length),
    [16, 32, 32, 16, 32, 32],
  )
  assert.equal(new Set(parts.map(String)).size, 6)
})

test('both keys of a device sign for account and server, each under its own seed', async () => {
  const { id: account, serverKey } = await testAccount('alice')
  const secrets = newDevice(seeded('device'))
  const certificate = await certify(secrets, { account, serverKey })
  const { device, signatureKey, requestKey, bySignatureKey, byRequestKey } = certificate
  assert.deepEqual(device, secrets.device)
  assert.deepEqual(signatureKey, (await signingKey(secrets.signatureSeed)).publicKey)
  assert.deepEqual(requestKey, (await signingKey(secrets.requestSeed)).publicKey)
  const message = inContext(
    contexts.device,
    encode(DeviceBinding, { account, serverKey, device, signatureKey, requestKey }),
  )
  assert.equal(await verifySignature(signatureKey, message, bySignatureKey), true)
  assert.equal(await verifySignature(requestKey, message, byRequestKey), true)
})
