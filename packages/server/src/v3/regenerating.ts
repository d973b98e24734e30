import type { ConversationId, Notice } from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import { devicesOf } from './committing.ts'
import { type Conversation, type ConversationState, oldestIn, refusedFor } from './conversation.ts'
import { handshakeKey, pairKey } from './conversationkeys.ts'
import {
  accountsOf,
  afterLeaving,
  afterRecreation,
  afterReturning,
  mayLeave,
  mayReport,
  notPermitted,
} from './membership.ts'
import type { Parts } from './parts.ts'
import type { Device, RequestOf, ResponseOf } from './services.ts'
import { learnWelcomeTrees, without } from './welcometrees.ts'

/** Begins the next generation of a conversation that its members cannot continue. Protocol 3 §6.8. */
export async function recreate(
  parts: Parts,
  device: Device,
  request: RequestOf<'recreate'>,
): Promise<ResponseOf<'recreate'>> {
  const { archive, shelf, trimming } = parts
  const { conversation: id, generation } = request
  for (;;) {
    const conversation = await shelf.find(id)
    if (conversation === undefined) throw notPermitted('no such conversation')
    const { state, sequence } = conversation
    const known = await devicesOf(parts, [], request.roster)
    const lost = await accountsWithoutDevices(parts, state)
    if (conversation.state.welcomeTrees === undefined) await learnWelcomeTrees(archive, conversation)
    if (!shelf.holds(conversation) || conversation.state !== state || conversation.sequence !== sequence) continue

    const place = { sequence, position: archive.position, isRead: isReadIn(parts, conversation) }
    let next = state
    const refused = refusedFor(conversation, () => {
      next = afterRecreation(state, device, request, { known, lost }, place)
    })
    if (refused !== undefined) {
      await refused
      continue
    }
    await shelf.change(conversation, { state: next, sequence }, { objects: withoutHandshake(conversation) })
    const told = state.audience.union(new Set(Array.from(known.values(), ({ number }) => number)))
    told.delete(device.number)
    notify(parts, told, { kind: 'regenerated', body: { conversation: id, generation } })
    trimming.note(id)
    return { conversation: id, generation, isNew: true }
  }
}

/** Ends what comes to the devices of an account; the last one out closes the conversation. Protocol 3 §6.9. */
export async function leave(parts: Parts, device: Device, id: ConversationId): Promise<void> {
  const { archive, shelf, trimming } = parts
  const { number, id: account } = device.account
  for (;;) {
    const conversation = await shelf.find(id)
    if (conversation === undefined) throw notPermitted('no such conversation')
    if (conversation.state.welcomeTrees === undefined) await learnWelcomeTrees(archive, conversation)
    if (!shelf.holds(conversation)) continue
    const { state, sequence, durable } = conversation
    if (durable?.left.includes(number) === true) return
    const refused = refusedFor(conversation, () => mayLeave(state, device))
    if (refused !== undefined) {
      await refused
      continue
    }
    const next = afterLeaving(state, number, { sequence, isRead: isReadIn(parts, conversation) })
    const objects = next.isClosed ? withoutPair(state, withoutHandshake(conversation)) : []
    await shelf.change(conversation, { state: next, sequence }, { objects })
    const body = { conversation: id, generation: state.generation }
    if (next.isClosed) notify(parts, state.audience, { kind: 'regenerated', body })
    else notify(parts, next.audience, { kind: 'left', body: { ...body, account } })
    trimming.note(id)
    return
  }
}

/** Undoes that an account has left, for whoever opens the conversation of a pair again. Protocol 3 §6.2. */
export async function takePartAgain(parts: Parts, device: Device, id: ConversationId): Promise<void> {
  const { archive, shelf } = parts
  const { number } = device.account
  for (;;) {
    const conversation = await shelf.find(id)
    if (conversation === undefined || !conversation.state.left.includes(number)) return
    if (conversation.state.welcomeTrees === undefined) await learnWelcomeTrees(archive, conversation)
    if (!shelf.holds(conversation)) continue
    const { state, sequence } = conversation
    const place = { sequence, position: archive.position, isRead: isReadIn(parts, conversation) }
    await shelf.change(conversation, { state: afterReturning(state, number, place), sequence }, { objects: [] })
    return
  }
}

/** Tells the others that a device cannot follow. Protocol 3 §6.9. */
export async function reportStuck(parts: Parts, device: Device, request: RequestOf<'stuck'>): Promise<void> {
  const { clock, reports, shelf } = parts
  const { conversation: id, generation, epoch } = request
  for (;;) {
    const conversation = await shelf.find(id)
    if (conversation === undefined) throw notPermitted('no such conversation')
    const { audience } = conversation.state
    const refused = refusedFor(conversation, () => mayReport(conversation.state, device, request))
    if (refused !== undefined) {
      await refused
      continue
    }
    reports.mustBeDue(`${conversation.number}/${device.number}`, clock.monotonicMs())
    const others = new Set(audience)
    others.delete(device.number)
    notify(parts, others, { kind: 'stuck', body: { conversation: id, generation, epoch, device: device.id } })
    return
  }
}

function notify({ sessions }: Parts, devices: ReadonlySet<number>, notice: Notice): void {
  for (const number of devices) sessions.ofDevice(number)?.notice(notice)
}

/** Accounts that take part and have no device with which they could. */
async function accountsWithoutDevices({ directory }: Parts, state: ConversationState): Promise<Set<number>> {
  const lost = new Set<number>()
  for (const number of accountsOf(state)) {
    const account = await directory.accountByNumber(number)
    if (account === undefined || account.devices.length === 0) lost.add(number)
  }
  return lost
}

function isReadIn({ archive }: Parts, { boxes }: Conversation): (interval: { until: number }) => boolean {
  const oldest = oldestIn(archive, boxes)
  return ({ until }) => until < oldest
}

function withoutHandshake(conversation: Conversation): ObjectChange[] {
  const newest = (['group-info', 'tree'] as const).map(
    (name): ObjectChange => ({
      kind: 'handshake',
      key: handshakeKey(conversation.number, name),
      value: undefined,
    }),
  )
  const { welcomeTrees = [] } = conversation.state
  return [...newest, ...without(welcomeTrees)]
}

function withoutPair({ pair: [one, other = one] }: ConversationState, objects: ObjectChange[]): ObjectChange[] {
  return one === undefined || other === undefined
    ? objects
    : [...objects, { kind: 'pair', key: pairKey(one, other), value: undefined }]
}
