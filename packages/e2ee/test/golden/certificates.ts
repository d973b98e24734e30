import { encode } from '@messageu/protocol'
import { DeviceBinding, DeviceCertificate } from '@messageu/protocol/v3'
import { certify, newDevice } from '../../src/device.ts'
import { testAccount } from '../account.ts'
import { toHex } from '../hex.ts'
import { seeded } from '../seeded.ts'

/** Devices, and what their two keys sign. Wrong certificates are among the lists: nothing else carries them. */
export async function certificateVectors() {
  const alice = await testAccount('alice')
  const bob = await testAccount('bob')
  const valid = []
  for (const { account, serverKey, label } of [
    { account: alice.id, serverKey: alice.serverKey, label: 'device 1' },
    { account: alice.id, serverKey: alice.serverKey, label: 'device 2' },
    { account: bob.id, serverKey: bob.accountKey.publicKey, label: 'device 1' },
  ]) {
    const secrets = newDevice(seeded(label))
    const certificate = await certify(secrets, { account, serverKey })
    const { device, signatureKey, requestKey } = certificate
    valid.push({
      account: toHex(account),
      serverKey: toHex(serverKey),
      device: toHex(device),
      signatureSeed: toHex(secrets.signatureSeed.reveal()),
      requestSeed: toHex(secrets.requestSeed.reveal()),
      binding: toHex(encode(DeviceBinding, { account, serverKey, device, signatureKey, requestKey })),
      certificate: toHex(encode(DeviceCertificate, certificate)),
    })
  }
  return { title: 'device certificates', valid }
}
