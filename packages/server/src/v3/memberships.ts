import { bool, decode, encode, type Infer, struct, u64 } from '@messageu/protocol'
import { ConversationId, ConversationKind } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { type Conversation, type ConversationState, belongs as takesPart } from './conversation.ts'
import { numberKey } from './numbers.ts'

/** What an account has to do with a conversation. */
const Membership = struct({
  conversation: ConversationId,
  kind: ConversationKind,
  /** Whether it takes part now; otherwise it made the conversation, or may have something left to read. */
  isMember: bool,
  /** Whether what waits in the conversation counts in its quota; then also the bytes of GroupInfo and tree. */
  isCreator: bool,
  handshakeBytes: u64,
})
export type Membership = Infer<typeof Membership>

const pageSize = 1000

/** What `account` has to do with a conversation in this state; undefined for nothing. */
function membershipIn(id: ConversationId, state: ConversationState, account: number): Membership | undefined {
  const { kind, creator, intervals, isClosed, handshakeBytes } = state
  if (isClosed && intervals.length === 0) return undefined
  const isMember = takesPart(state, account)
  const isCreator = creator === account
  if (!isMember && !isCreator && !intervals.some((each) => each.account === account)) return undefined
  return { conversation: id, kind, isMember, isCreator, handshakeBytes: isCreator ? handshakeBytes : 0 }
}

/** One account whose membership is another than before. */
export interface MembershipChange {
  readonly account: number
  readonly before: Membership | undefined
  readonly after: Membership | undefined
}

/** What becomes different for accounts when a conversation goes from one state to the next. */
export function membershipChanges(
  id: ConversationId,
  before: ConversationState | undefined,
  after: ConversationState,
): MembershipChange[] {
  const changes: MembershipChange[] = []
  for (const account of new Set([...accountsIn(before), ...accountsIn(after)])) {
    const change = {
      account,
      before: before && membershipIn(id, before, account),
      after: membershipIn(id, after, account),
    }
    if (!areSame(change.before, change.after)) changes.push(change)
  }
  return changes
}

export function membershipObject(
  { number }: Pick<Conversation, 'number'>,
  { account, after }: MembershipChange,
): ObjectChange {
  return { kind: 'member', key: numberKey(account, number), value: after && encode(Membership, after) }
}

/** All conversations that an account has to do with, by number, a page at a time. What is durable. */
export async function* membershipsOf(
  archive: Archive,
  account: number,
  behind?: number,
): AsyncGenerator<readonly { number: number; membership: Membership }[]> {
  let after = behind === undefined ? undefined : numberKey(account, behind)
  for (;;) {
    const found = await archive.scan('member', { prefix: numberKey(account), after, limit: pageSize })
    yield found.map(({ key, value }) => ({ number: numberIn(key), membership: decode(Membership, value) }))
    if (found.length < pageSize) return
    after = found.at(-1)?.key
  }
}

function numberIn(key: Uint8Array): number {
  return Number(Buffer.from(key.buffer, key.byteOffset, key.byteLength).readBigUInt64BE(8))
}

function* accountsIn(state: ConversationState | undefined): Generator<number> {
  if (state === undefined) return
  yield state.creator
  yield* state.expected
  yield* state.pair
  for (const { account } of state.roster) yield account
  for (const { account } of state.intervals) yield account
}

function areSame(one: Membership | undefined, other: Membership | undefined): boolean {
  if (one === undefined || other === undefined) return one === other
  return (
    one.isMember === other.isMember && one.isCreator === other.isCreator && one.handshakeBytes === other.handshakeBytes
  )
}
