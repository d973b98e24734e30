import type { ConversationState, LocalDevice } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId, ConversationKind, DeviceId, PublicKey } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { deliveryRow, dropRow, getRow, progressKeys, putRow } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { Workspace } from '../workspace.ts'
import { countersOf, feeding, putCounters, telling } from './feed.ts'
import { messagingLimits as limits } from './limits.ts'
import type { Lists } from './lists.ts'
import {
  type ContactRow,
  type ConversationRow,
  contactRow,
  conversationRow,
  type Entry,
  groupParts,
  groupRow,
  historyRow,
  type PendingRow,
  pendingRow,
  stateRow,
  type Told,
} from './rows.ts'
import { emptyTranscript } from './transcript.ts'

/** Who this device is in its conversations. */
export interface Me {
  readonly self: LocalDevice
  readonly name: string
  readonly serverKey: PublicKey
}

/** What a step of work needs beside the store. */
export interface Tools {
  readonly me: Me
  readonly lists: Lists
  readonly nowMs: () => number
  /** How long rejoining may fail before a conversation is begun anew, where it is not the usual time. */
  readonly repairMs?: number | undefined
  /** Something in a conversation may want doing, once what is being done is stored. */
  readonly touched: (conversation: ConversationId) => void
  /** Something was stored that was not received: what was touched by it can be done now. */
  readonly written: () => void
}

/** One step: what it reads is as it was when it began, and what it writes is kept together or not at all. */
export class Work {
  readonly store: Workspace
  readonly tools: Tools

  constructor(rows: RowStore, tools: Tools) {
    this.store = new Workspace(rows)
    this.tools = tools
  }

  get me(): Me {
    return this.tools.me
  }

  get nowMs(): number {
    return this.tools.nowMs()
  }

  // ─── conversations ───

  conversation(id: ConversationId): Promise<ConversationRow | undefined> {
    return getRow(this.store, conversationRow, id)
  }

  put(row: ConversationRow): void {
    this.store.put(putRow(conversationRow, row.conversation, row))
  }

  /** A conversation that this device has not known of. */
  async begin(
    id: ConversationId,
    { kind, generation, number: freed }: { kind: ConversationKind; generation: number; number?: number | undefined },
  ): Promise<ConversationRow> {
    const delivery = await getRow(this.store, deliveryRow, progressKeys.delivery)
    if (delivery === undefined) throw new Error('nothing begins before there was a session')
    const { incarnation } = delivery
    const number = freed ?? (await this.#nextNumber())
    const row: ConversationRow = {
      conversation: id,
      number,
      kind,
      generation,
      standing: { kind: 'waiting', body: { since: this.nowMs } },
      peer: undefined,
      title: undefined,
      ownTitle: undefined,
      base: limits.firstBase,
      incarnation,
      earlier: [],
      received: 0,
      newest: 0,
      epoch: 0,
      restoredEpoch: 0,
      transcript: emptyTranscript,
      gaps: [],
      sentSinceUpdate: 0,
      updatedAt: this.nowMs,
      isUnseen: false,
      welcomes: [],
      doubt: undefined,
      accepted: undefined,
      silentFrom: undefined,
      awaited: [],
    }
    this.put(row)
    return row
  }

  async #nextNumber(): Promise<number> {
    const counters = await countersOf(this.store)
    const number = counters.conversations + 1
    this.store.put(putCounters({ ...counters, conversations: number }))
    return number
  }

  async state(id: ConversationId): Promise<ConversationState | undefined> {
    const head = await getRow(this.store, groupRow, partKey(id, 'group'))
    if (head === undefined) return undefined
    const [ratchets, earlier] = await Promise.all([
      getRow(this.store, stateRow, partKey(id, 'ratchets')),
      getRow(this.store, stateRow, partKey(id, 'earlier')),
    ])
    if (ratchets === undefined || earlier === undefined)
      throw new ClientError('damaged', 'a part of a conversation is missing')
    return { ...head, ratchets, earlier }
  }

  /** Writes the parts that are other ones than before: a message changes only the ratchets. */
  putState(id: ConversationId, state: ConversationState, before?: ConversationState): void {
    const { engine, suite, group } = state
    if (group !== before?.group) this.store.put(putRow(groupRow, partKey(id, 'group'), { engine, suite, group }))
    for (const part of ['ratchets', 'earlier'] as const)
      if (state[part] !== before?.[part]) this.store.put(putRow(stateRow, partKey(id, part), state[part]))
  }

  dropState(id: ConversationId): void {
    for (const part of ['group', 'ratchets', 'earlier', 'pending'] as const)
      this.store.put(dropRow(groupRow, partKey(id, part)))
  }

  pending(id: ConversationId): Promise<PendingRow | undefined> {
    return getRow(this.store, pendingRow, partKey(id, 'pending'))
  }

  putPending(id: ConversationId, pending: PendingRow | undefined): void {
    const key = partKey(id, 'pending')
    this.store.put(pending === undefined ? dropRow(pendingRow, key) : putRow(pendingRow, key, pending))
  }

  /** A commit that will not come. */
  async forgetPending(id: ConversationId, commit: Pick<PendingRow, 'id'>): Promise<void> {
    if (await this.isPending(id, commit)) this.putPending(id, undefined)
  }

  async isPending(id: ConversationId, commit: Pick<PendingRow, 'id'>): Promise<boolean> {
    const pending = await this.pending(id)
    return pending !== undefined && sameBytes(pending.id, commit.id)
  }

  // ─── what was said, and what is told ───

  /** Puts something in its place of the history. */
  async record(
    row: ConversationRow,
    { sequence, at }: { sequence: number; at: number },
    entry: Entry,
    { isFed }: { isFed: boolean },
  ): Promise<ConversationRow> {
    const key = historyKey(row, row.base + sequence)
    const { conversation, generation } = row
    this.store.put(putRow(historyRow, key, { conversation, generation, sequence, at, entry }))
    if (isFed && row.silentFrom === undefined)
      this.store.put(...(await feeding(this.store, [{ kind: 'history', body: key }])))
    const next = { ...row, newest: Math.max(row.newest, row.base + sequence) }
    this.put(next)
    return next
  }

  async tell(told: Told): Promise<void> {
    this.store.put(...(await telling(this.store, told, this.nowMs)))
  }

  // ─── people ───

  contact(account: AccountId): Promise<ContactRow | undefined> {
    return getRow(this.store, contactRow, account)
  }

  putContact(contact: ContactRow): void {
    this.store.put(putRow(contactRow, contact.account, contact))
  }

  /** Sees to it that an account is known here; false if the server has no good list of it. */
  async meet(account: AccountId, asker: Asker): Promise<boolean> {
    return (await this.contact(account)) !== undefined || this.tools.lists.meet(this.store, account, asker)
  }

  /** Makes these lists known, or says that they are not to be had. */
  learn(refs: Parameters<Lists['learn']>[1], asker: Asker): Promise<boolean> {
    return this.tools.lists.learn(this.store, refs, asker)
  }
}

/** The key of a place in the history of a conversation. */
export function historyKey({ number }: Pick<ConversationRow, 'number'>, place: number): number {
  if (place >= limits.historyMax) throw new ClientError('too-many', 'a conversation has no room for more messages')
  return number * limits.historyMax + place
}

export function placeOfKey(key: number): number {
  return key % limits.historyMax
}

function partKey(id: ConversationId, part: keyof typeof groupParts): Uint8Array {
  return Uint8Array.of(...id, groupParts[part])
}

export function senderKey(id: ConversationId, device: DeviceId): Uint8Array {
  return Uint8Array.of(...id, ...device)
}
