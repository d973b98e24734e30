import { addDevice, removeDevice } from '@messageu/e2ee'
import { view } from '@messageu/e2ee/conversation'
import type { ConversationId, DeviceCertificate, DeviceId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import type { Outcome } from '../outbox.ts'
import { rowsOf } from '../rows.ts'
import { orAborted } from '../waiting.ts'
import { bringIn } from './bringing.ts'
import { share } from './contacts.ts'
import { sendHistory } from './copies-out.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { accountOf, append, managerOf, renewManager } from './managing.ts'
import { enterOpened } from './opening.ts'
import { contactRow, conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { perform, wantedByTurn } from './tending.ts'

/** How often a new device is looked for until it can be brought in. */
const lookMs = 1_000

/** How far a new device has come. */
export type Progress =
  | { readonly kind: 'listed' }
  | { readonly kind: 'brought-in'; readonly conversations: number }
  | { readonly kind: 'history'; readonly conversations: number }

export interface Admission {
  readonly certificate: DeviceCertificate
  /** Whether it is to manage the account as well. */
  readonly isManager: boolean
  readonly tell: (progress: Progress) => void
}

/** Puts a device on the account's list, and brings it into everything that this device is in, with what was said there. */
export async function admitDevice(
  desk: Desk,
  sending: Sending,
  { certificate, isManager, tell }: Admission,
  wait: Wait,
): Promise<void> {
  const { device } = certificate
  const list = await append(
    desk,
    async (now, key) => (isOn(now, device) ? undefined : addDevice(now, key, certificate)),
    wait,
  )
  tell({ kind: 'listed' })
  const among = await enterOwnDevices(desk, wait)
  await bringDevice(desk, among, device, wait)
  const outcomes: Promise<Outcome>[] = []
  if (isManager) {
    const { seed } = await managerOf(desk, list)
    outcomes.push((await sending.post(among, { kind: 'manager', body: { seed: seed.reveal() } }, wait)).outcome)
  }
  for await (const { row } of rowsOf(desk.store, contactRow))
    outcomes.push(...(await share(desk, sending, row.account, wait)))
  const others = (await activeOnes(desk)).filter((conversation) => !sameBytes(conversation, among))
  for (const conversation of others) await bringDevice(desk, conversation, device, wait)
  tell({ kind: 'brought-in', conversations: others.length })
  for (const conversation of others)
    outcomes.push(...(await sendHistory(desk, sending, { conversation, through: among }, wait)))
  for (const outcome of await orAborted(Promise.all(outcomes), wait.signal))
    if (outcome.kind === 'refused') throw outcome.error
  tell({ kind: 'history', conversations: others.length })
}

/**
 * Takes a device off the account and out of every conversation. The key that manages the account is replaced: the device
 * may have had it. Other devices that managed do so no more.
 */
export async function dropDevice(desk: Desk, device: DeviceId, wait: Wait): Promise<void> {
  const { self } = desk.tools.me
  if (sameBytes(device, self.device))
    throw new ClientError('forbidden', 'a device does not take itself off: use another one')
  await append(desk, async (list, key) => (isOn(list, device) ? removeDevice(list, key, device) : undefined), wait)
  await renewManager(desk, wait)
  for (const conversation of await activeOnes(desk))
    await perform(desk, conversation, (await wantedByTurn(desk, conversation)).atOnce, wait)
}

/** The conversation of the own devices; it is entered when there is a second one. */
async function enterOwnDevices(desk: Desk, wait: Wait): Promise<ConversationId> {
  const { ownDevices: conversation } = await accountOf(desk)
  if (conversation === undefined) throw new ClientError('bad-answer', 'the server has no conversation for own devices')
  const { generation } = await desk.session.request('read-state', { conversation }, wait)
  await enterOpened(desk, { conversation, generation, purpose: { kind: 'own-devices' } }, wait)
  return conversation
}

/** A device that was just listed publishes its key packages before anybody can bring it in. */
async function bringDevice(desk: Desk, conversation: ConversationId, device: DeviceId, wait: Wait): Promise<void> {
  for (;;) {
    await bringIn(desk, conversation, [desk.tools.me.self.account], wait)
    const state = await look(desk).state(conversation)
    if (state === undefined || view(state).roster.some((each) => sameBytes(each, device))) return
    const over = Promise.withResolvers<void>()
    using _timer = desk.clock.after(lookMs, () => over.resolve())
    await orAborted(over.promise, wait.signal)
  }
}

async function activeOnes(desk: Desk): Promise<readonly ConversationId[]> {
  const found: ConversationId[] = []
  for await (const { row } of rowsOf(desk.store, conversationRow))
    if (row.standing.kind === 'active') found.push(row.conversation)
  return found
}

function isOn({ devices }: { devices: readonly { device: DeviceId }[] }, device: DeviceId): boolean {
  return devices.some((listed) => sameBytes(listed.device, device))
}
