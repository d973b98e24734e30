import { type ConversationId, type Opening, RefusedError } from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import { type ConversationState, firstState, keyOf } from './conversation.ts'
import { pairKey } from './conversationkeys.ts'
import { idInUse, memberFrom, notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import { isPresent } from './person.ts'
import { takePartAgain } from './regenerating.ts'
import type { Account, Device, ResponseOf } from './services.ts'

type Opened = ResponseOf<'open'>

/**
 * The conversation of a pair of accounts, or the notes of one: there is one at most, and who comes second gets the
 * conversation of the first. Protocol 3 §6.2.
 */
export async function open(parts: Parts, device: Device, { conversation: id, target }: Opening): Promise<Opened> {
  const own = device.account
  const other = target.kind === 'self' ? own : await parts.directory.account(target.body)
  if (target.kind === 'direct' && other === own)
    throw new RefusedError('malformed', 'notes to oneself are another kind')
  if (other === undefined || !isPresent(other)) throw notPermitted('no such account')
  const standing = other === own ? 'accepted' : await parts.contacts.standing(own, other)
  if (standing === 'blocked') throw notPermitted('no such account')
  const key = pairKey(own.number, other.number)
  return parts.turns.take([keyOf(key)], async () => {
    const found = await openOf(parts, key)
    if (found !== undefined) {
      await takePartAgain(parts, device, found.conversation)
      return found
    }
    await mustBeFree(parts, id)
    if (standing === 'stranger') await parts.strangers.introduce(own, other, id)
    if (other !== own && (await parts.contacts.standing(other, own)) === 'stranger')
      await parts.contacts.judge(own, other, 'accept')
    const pair = [...new Set([own.number, other.number])]
    const kind = target.kind
    const state = firstState(memberFrom(device), { kind, pair })
    await begin(parts, id, { state, accounts: [own, other], objects: [{ kind: 'pair', key, value: id }] })
    return { conversation: id, generation: 1, isNew: true }
  })
}

/** A group of the device that asks. Protocol 3 §6.3. */
export async function create(parts: Parts, device: Device, id: ConversationId): Promise<Opened> {
  const there = await parts.shelf.find(id)
  await there?.settled
  if (there?.durable !== undefined) {
    const { kind, opener, generation, epoch } = there.durable
    if (kind !== 'group' || opener !== device.number || generation !== 1 || epoch !== 0) throw idInUse()
    return { conversation: id, generation: 1, isNew: false }
  }
  const state = firstState(memberFrom(device), { kind: 'group' })
  await begin(parts, id, { state, accounts: [device.account], objects: [] })
  return { conversation: id, generation: 1, isNew: true }
}

/** The open conversation under a key of pairs. */
async function openOf({ archive, shelf }: Parts, key: Uint8Array): Promise<Opened | undefined> {
  const id = await archive.get('pair', key)
  const conversation = id && (await shelf.find(id as ConversationId)) // written from an id
  await conversation?.settled
  if (conversation?.durable === undefined || conversation.durable.isClosed) return undefined
  return { conversation: conversation.id, generation: conversation.durable.generation, isNew: false }
}

/** Throws `conversation-exists` for an id that is in use, or about to be. */
async function mustBeFree({ archive, shelf, founded }: Parts, id: ConversationId): Promise<void> {
  const stored = await archive.get('conversation', id)
  if (stored !== undefined || isHeld({ shelf, founded }, id)) throw idInUse()
}

function isHeld({ shelf, founded }: Pick<Parts, 'shelf' | 'founded'>, id: ConversationId): boolean {
  return shelf.peek(id) !== undefined || founded.get(keyOf(id)) !== undefined
}

async function begin(
  parts: Parts,
  id: ConversationId,
  {
    state,
    accounts,
    objects,
  }: { state: ConversationState; accounts: readonly Account[]; objects: readonly ObjectChange[] },
): Promise<void> {
  const { ledgers, numbers, shelf } = parts
  const places = await Promise.all(accounts.map((account) => ledgers.of(account)))
  await mustBeFree(parts, id)
  if (isHeld(parts, id)) throw idInUse() // by somebody who looked at the same time
  for (const ledger of places) ledger.mustHavePlace()
  await shelf.begin(id, numbers.next('conversation'), state, objects)
}
