import { decode } from '@messageu/protocol'
import {
  type ConversationId,
  type Hash,
  limits,
  RefusedError,
  type ConversationState as StateAnswer,
} from '@messageu/protocol/v3'
import { KeptGroupInfo, KeptTree } from './committing.ts'
import { belongs, type Conversation, type ConversationState } from './conversation.ts'
import { handshakeKey } from './conversationkeys.ts'
import { notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import type { Account, Device, ResponseOf } from './services.ts'
import { welcomeTree } from './welcometrees.ts'

type Page = ResponseOf<'conversations'>

/** Where a conversation is, by what is durable. Protocol 3 §6.7. */
export async function readState(parts: Parts, { account }: Device, id: ConversationId): Promise<StateAnswer> {
  for (;;) {
    const { conversation, durable } = await partaken(parts, account, id)
    const groupInfo = await groupInfoOf(parts, conversation, durable)
    if (conversation.durable !== durable) continue
    if (groupInfo === undefined) {
      if (conversation.state === durable) throw new RefusedError('damaged', 'the GroupInfo is not the one of the epoch')
      await conversation.settled // it belongs to a commit that is about to be durable
      continue
    }
    const { kind, generation, epoch, floor, roster, treeHash } = durable
    const { durableSequence: sequence } = conversation
    return { kind, generation, epoch, floor, sequence, roster: roster.map(({ device }) => device), groupInfo, treeHash }
  }
}

/**
 * The tree of that hash, if it is the newest or a Welcome that needs it still waits: whoever was brought in and taken out
 * while away may read what was said in between. Protocol 3 §6.7.
 */
export async function readTree(
  parts: Parts,
  { account, number }: Device,
  { conversation: id, treeHash }: { conversation: ConversationId; treeHash: Hash },
): Promise<Uint8Array> {
  const conversation = await parts.shelf.find(id)
  if (conversation?.durable === undefined) throw noTree()
  if (!belongs(conversation.durable, account.number)) {
    const own = await welcomeTree(parts.archive, conversation, treeHash, { for: number })
    if (own === undefined) throw noTree()
    return own
  }
  const kept = await parts.archive.get('handshake', handshakeKey(conversation.number, 'tree'))
  const found = kept && decode(KeptTree, kept)
  if (found !== undefined && Buffer.compare(found.hash, treeHash) === 0) return found.tree
  const waited = await welcomeTree(parts.archive, conversation, treeHash)
  if (waited === undefined) throw noTree()
  return waited
}

/** The same for who may not know that there is such a conversation. */
const noTree = (): RefusedError => notPermitted('no such tree')

/** The conversations that an account takes part in, in the order of their ids. Protocol 3 §6.7. */
export async function list(parts: Parts, device: Device, after: ConversationId | undefined): Promise<Page> {
  const { ledgers, shelf } = parts
  const ledger = await ledgers.of(device.account)
  const behind = ledger.partakenBehind(after)
  const conversations: Page['conversations'][number][] = []
  for (const id of behind.slice(0, limits.pageMax)) {
    const conversation = await shelf.find(id)
    const state = conversation?.durable
    if (state === undefined || !belongs(state, device.account.number)) continue
    const { kind, generation, roster } = state
    const isOnRoster = roster.some(({ number }) => number === device.number)
    conversations.push({ conversation: id, kind, generation, isOnRoster })
  }
  return { conversations, isLast: behind.length <= limits.pageMax }
}

/** A conversation that an account takes part in: for others there is none. */
export async function partaken(
  { shelf }: Pick<Parts, 'shelf'>,
  { number }: Account,
  id: ConversationId,
): Promise<{ conversation: Conversation; durable: ConversationState }> {
  const conversation = await shelf.find(id)
  const durable = conversation?.durable
  if (conversation === undefined || durable === undefined || !belongs(durable, number))
    throw notPermitted('no such conversation')
  return { conversation, durable }
}

/** Empty before the first commit of a generation; undefined when what is stored is of another epoch already. */
async function groupInfoOf(
  { archive }: Parts,
  { number }: Conversation,
  { generation, epoch }: ConversationState,
): Promise<Uint8Array | undefined> {
  const stored = await archive.get('handshake', handshakeKey(number, 'group-info'))
  if (stored === undefined) return epoch === 0 ? new Uint8Array() : undefined
  const kept = decode(KeptGroupInfo, stored)
  return kept.generation === generation && kept.epoch === epoch ? kept.groupInfo : undefined
}
