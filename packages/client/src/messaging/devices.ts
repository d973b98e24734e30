import { addDevice, removeDevice } from '@messageu/e2ee'
import type { DeviceCertificate, DeviceId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError, isLoss } from '../errors.ts'
import { isOn } from '../lists.ts'
import type { Desk, Wait } from './desk.ts'
import { activeOnes, type Progress } from './giving.ts'
import { append, renewManager } from './managing.ts'
import type { Settling } from './settling.ts'
import { perform, wantedByTurn } from './tending.ts'

export interface Admission {
  readonly certificate: DeviceCertificate
  /** Whether it is to manage the account as well. */
  readonly isManager: boolean
  readonly tell: (progress: Progress) => void
}

/** Puts a device on the account's list, and brings it into everything that this device is in, with what was said there. */
export function admitDevice(
  desk: Desk,
  settling: Settling,
  { certificate, isManager, tell }: Admission,
  wait: Wait,
): Promise<void> {
  const { device } = certificate
  const list = async (): Promise<void> => {
    await append(desk, async (now, key) => (isOn(now, device) ? undefined : addDevice(now, key, certificate)), wait)
    tell({ kind: 'listed' })
  }
  return settling.admit({ device, isManager, tell }, list, wait)
}

/**
 * Takes a device off the account and out of every conversation. The key that manages the account is replaced, since the
 * device may have had it, and before it goes: however this ends, no device that is off the account manages it. Other
 * devices that managed do so no more. A conversation that it cannot be taken out of now keeps it in no other: then this throws
 * why, and the device is off the account all the same.
 */
export async function dropDevice(desk: Desk, device: DeviceId, wait: Wait): Promise<void> {
  const { self } = desk.tools.me
  if (sameBytes(device, self.device))
    throw new ClientError('forbidden', 'a device does not take itself off: use another one')
  await renewManager(desk, wait)
  await append(desk, async (list, key) => (isOn(list, device) ? removeDevice(list, key, device) : undefined), wait)
  const failures: unknown[] = []
  for (const { conversation } of await activeOnes(desk)) {
    try {
      await perform(desk, conversation, (await wantedByTurn(desk, conversation)).atOnce, wait)
    } catch (error) {
      wait.signal.throwIfAborted()
      if (isLoss(error)) throw error
      failures.push(error)
      desk.tools.touched(conversation) // the keeper goes on with it
    }
  }
  desk.tools.written()
  if (failures.length > 0) throw failures[0]
}
