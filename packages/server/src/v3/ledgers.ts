import assert from 'node:assert'
import { type ConversationId, limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { Generations } from '../storage/generations.ts'
import { boxOf } from './boxes.ts'
import { type Membership, type MembershipChange, membershipsOf } from './memberships.ts'
import type { Account, Directory } from './services.ts'

/** Conversations in all ledgers together that are remembered, and at times twice as many. */
const entriesMax = 200_000

/** How far commits may go above a quota: a member can be removed from a conversation that is full. */
const commitReserveBytes = 64 * 2 ** 20

interface Entry {
  readonly membership: Membership
  /** Bytes of the conversation as they were counted last. */
  counted: number
}

/** What one account takes part in, and what it keeps stored; steps that are under way included. */
export class Ledger {
  readonly account: Account
  readonly #archive: Archive
  readonly #entries = new Map<number, Entry>()
  #bytes = 0
  #members = 0
  /** Bytes of messages that are under way. */
  underWayBytes = 0
  /** Conversations that changed while the ledger was being read: what is read of them is older. */
  #changed: Set<number> | undefined = new Set()

  constructor(account: Account, archive: Archive) {
    this.account = account
    this.#archive = archive
  }

  get isLoading(): boolean {
    return this.#changed !== undefined
  }

  get size(): number {
    return this.#entries.size
  }

  /** Conversations that it takes part in. */
  get members(): number {
    return this.#members
  }

  get storedBytes(): number {
    for (const number of this.#entries.keys()) this.recount(number)
    return this.#bytes
  }

  /** The conversations that it takes part in, in the order of their ids, behind one of them. */
  partakenBehind(after: ConversationId | undefined): ConversationId[] {
    return Array.from(this.#entries.values(), ({ membership }) => membership)
      .filter(
        ({ isMember, conversation }) => isMember && (after === undefined || Buffer.compare(conversation, after) > 0),
      )
      .map(({ conversation }) => conversation)
      .sort(Buffer.compare)
  }

  has(conversation: number): boolean {
    return this.#entries.has(conversation)
  }

  /** The conversations that it has to do with, by number. */
  *conversations(): Generator<[number, ConversationId]> {
    for (const [number, { membership }] of this.#entries) yield [number, membership.conversation]
  }

  /** What was read of a conversation. */
  load(conversation: number, membership: Membership): void {
    if (this.#changed?.has(conversation) === false) this.#put(conversation, membership)
  }

  /** All was read. */
  loaded(): void {
    this.#changed = undefined
  }

  set(conversation: number, membership: Membership | undefined): void {
    this.#changed?.add(conversation)
    this.#put(conversation, membership)
  }

  /** Something was stored in a conversation, or went. */
  recount(conversation: number): void {
    const entry = this.#entries.get(conversation)
    if (entry === undefined || !entry.membership.isCreator) return
    const now =
      entry.membership.handshakeBytes +
      this.#archive.bytesOf(boxOf('application', conversation)) +
      this.#archive.bytesOf(boxOf('handshake', conversation))
    this.#bytes += now - entry.counted
    entry.counted = now
  }

  /** Throws `mailbox-full` when the account may not keep so many bytes more. */
  mustHaveRoom(conversation: number, bytes: number, what: 'message' | 'commit'): void {
    this.recount(conversation)
    this.#mustHaveRoom(bytes, what)
  }

  /** The same for a message of a conversation that was asked for in this turn. */
  mustHaveRoomBehind(bytes: number): void {
    this.#mustHaveRoom(bytes, 'message')
  }

  #mustHaveRoom(bytes: number, what: 'message' | 'commit'): void {
    const most = this.account.quotaBytes + (what === 'commit' ? commitReserveBytes : 0)
    if (this.#bytes + this.underWayBytes + bytes > most)
      throw new RefusedError('mailbox-full', 'whoever created the conversation has no room for more at this server')
  }

  mustHavePlace(): void {
    if (this.#members >= limits.conversationsPerAccountMax)
      throw new RefusedError('limited', `an account takes part in at most ${limits.conversationsPerAccountMax}`)
  }

  #put(conversation: number, membership: Membership | undefined): void {
    const before = this.#entries.get(conversation)
    this.#bytes -= before?.counted ?? 0
    if (before?.membership.isMember === true) this.#members -= 1
    if (membership?.isMember === true) this.#members += 1
    if (membership === undefined) this.#entries.delete(conversation)
    else this.#entries.set(conversation, { membership, counted: 0 })
    this.recount(conversation)
  }
}

/** The ledgers that were asked for lately. */
export class Ledgers {
  readonly #archive: Archive
  readonly #directory: Pick<Directory, 'accountByNumber'>
  readonly #ledgers = new Generations<Ledger>(
    entriesMax,
    ({ underWayBytes, isLoading }) => underWayBytes === 0 && !isLoading,
    ({ size }) => size + 1,
  )
  readonly #loading = new Map<number, Promise<Ledger>>()

  constructor(archive: Archive, directory: Pick<Directory, 'accountByNumber'>) {
    this.#archive = archive
    this.#directory = directory
  }

  /** What is in memory. */
  peek(account: number): Ledger | undefined {
    const ledger = this.#ledgers.get(account)
    return ledger?.isLoading === false ? ledger : undefined
  }

  async of(account: Account): Promise<Ledger> {
    return this.peek(account.number) ?? (await this.#load(account))
  }

  /** The ledger of an account that there is. */
  async ofNumber(number: number): Promise<Ledger> {
    const account = await this.#directory.accountByNumber(number)
    assert(account !== undefined, 'accounts that take part in conversations stay')
    return this.of(account)
  }

  /** A conversation changes, or has changed. */
  apply(conversation: number, changes: readonly MembershipChange[], which: 'before' | 'after'): void {
    for (const change of changes) this.#ledgers.get(change.account)?.set(conversation, change[which])
  }

  #load(account: Account): Promise<Ledger> {
    const { number } = account
    const loading = this.#loading.get(number) ?? this.#read(account).finally(() => this.#loading.delete(number))
    this.#loading.set(number, loading)
    return loading
  }

  async #read(account: Account): Promise<Ledger> {
    const ledger = new Ledger(account, this.#archive)
    this.#ledgers.set(account.number, ledger)
    try {
      for await (const page of membershipsOf(this.#archive, account.number))
        for (const { number, membership } of page) ledger.load(number, membership)
    } catch (error) {
      this.#ledgers.forget(account.number)
      throw error
    }
    ledger.loaded()
    this.#ledgers.grew(ledger.size)
    return ledger
  }
}
