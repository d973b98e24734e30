import { createHash } from 'node:crypto'
import { encode } from '@messageu/protocol'
import {
  type AccountId,
  type Commit,
  type ConversationId,
  type ConversationKind,
  type ConversationState,
  type Current,
  DeliveredCommit,
  DeliveredWelcome,
  type Delivery,
  type DeviceId,
  type Hash,
  limits,
  RefusedError,
  type Send,
  toBase64url,
} from '@messageu/protocol/v3'
import type { RequestOf, ResponseOf } from '../../src/wire.ts'

/** Something on its way to one device. */
export interface Addressed {
  readonly to: DeviceId
  readonly parts: Partial<Delivery>
}

interface Placed {
  readonly sequence: number
  readonly to: readonly string[]
}

/** The tree of a commit that has brought devices in. */
interface WelcomeTree {
  readonly treeHash: Hash
  readonly tree: Uint8Array
  readonly devices: readonly DeviceId[]
}

/** Who is asking: a device, and the account whose list it is on. */
export interface Asking {
  readonly device: DeviceId
  readonly account: AccountId
}

/** Whose list a device is on, if it is on one. */
export type OwnerOf = (device: DeviceId) => AccountId | undefined

/** One conversation as the server of the protocol keeps it. Protocol 3 §6, §7.4 */
export class Ledger {
  readonly conversation: ConversationId
  readonly kind: ConversationKind
  readonly creator: AccountId
  generation = 1
  epoch = 0
  floor = 0
  sequence = 0
  #committed = 0
  #roster: readonly DeviceId[] = []
  /** Whose device each was when it came: its account has its place also when the device is off its list. */
  readonly #owners = new Map<string, AccountId>()
  readonly #pair: readonly AccountId[]
  /** Accounts of the roster that a re-creation asked for, until the first commit. */
  #expected: AccountId[] = []
  readonly left = new Set<string>()
  #groupInfo: Uint8Array = new Uint8Array()
  #tree: Uint8Array = new Uint8Array()
  readonly #log: Placed[] = []
  readonly #expired = new Set<string>()
  /** Older ones than the newest, for Welcomes. */
  #welcomeTrees: WelcomeTree[] = []
  readonly #ownerOf: OwnerOf

  constructor(
    {
      conversation,
      kind,
      pair = [],
    }: Pick<ConversationRefKind, 'conversation' | 'kind'> & { pair?: readonly AccountId[] },
    { device, account }: Asking,
    ownerOf: OwnerOf,
  ) {
    this.conversation = conversation
    this.kind = kind
    this.creator = account
    this.#pair = pair
    this.#ownerOf = ownerOf
    this.roster = [device]
  }

  get roster(): readonly DeviceId[] {
    return this.#roster
  }

  set roster(devices: readonly DeviceId[]) {
    this.#roster = [...devices]
    for (const device of devices) {
      const owner = this.#ownerOf(device)
      if (owner !== undefined) this.#owners.set(toBase64url(device), owner)
    }
  }

  #accountOf(device: DeviceId): AccountId | undefined {
    return this.#ownerOf(device) ?? this.#owners.get(toBase64url(device))
  }

  /** The same, going its own way from here on: what a server does that leads its members apart. */
  fork(): Ledger {
    const { conversation, kind, creator } = this
    const [device] = this.roster
    if (device === undefined) throw new Error('nobody is there to be led apart')
    const other = new Ledger({ conversation, kind, pair: this.#pair }, { device, account: creator }, this.#ownerOf)
    other.generation = this.generation
    other.epoch = this.epoch
    other.floor = this.floor
    other.sequence = this.sequence
    other.#committed = this.#committed
    other.roster = this.roster
    for (const [device, owner] of this.#owners) other.#owners.set(device, owner)
    other.#expected = [...this.#expected]
    for (const account of this.left) other.left.add(account)
    other.#groupInfo = this.#groupInfo
    other.#tree = this.#tree
    other.#welcomeTrees = this.#welcomeTrees
    other.#log.push(...this.#log)
    for (const each of this.#expired) other.#expired.add(each)
    return other
  }

  participates(account: AccountId): boolean {
    return this.concerns(account) && !this.left.has(toBase64url(account))
  }

  /** Whether it is the account's, also if that has left. */
  concerns(account: AccountId): boolean {
    const accounts = this.#pair.length > 0 ? this.#pair : [...this.#accountsHere(), ...this.#expected]
    return accounts.some((each) => same(each, account))
  }

  isOnRoster(device: DeviceId): boolean {
    return this.roster.some((each) => same(each, device))
  }

  get isClosed(): boolean {
    const accounts = this.#pair.length > 0 ? this.#pair : this.#accountsHere()
    return accounts.every((account) => this.left.has(toBase64url(account)))
  }

  get shown(): ConversationState {
    const { kind, generation, epoch, floor, sequence, roster } = this
    return { kind, generation, epoch, floor, sequence, roster, groupInfo: this.#groupInfo, treeHash: this.#treeHash() }
  }

  /** Whoever was brought in and taken out while away reads the tree of its Welcome. Protocol 3 §6.7 */
  welcomes(device: DeviceId, treeHash: Hash): boolean {
    return this.#welcomeTrees.some(
      (each) => same(each.treeHash, treeHash) && each.devices.some((other) => same(other, device)),
    )
  }

  tree(treeHash: Hash): Uint8Array {
    if (this.#tree.length > 0 && same(treeHash, this.#treeHash())) return this.#tree
    const kept = this.#welcomeTrees.find((each) => same(each.treeHash, treeHash))
    if (kept === undefined) throw notPermitted('that tree is gone')
    return kept.tree
  }

  mustTakePart({ account }: Asking): void {
    if (!this.participates(account)) throw notPermitted('no such conversation')
  }

  /** What goes out by an accepted message. */
  send({ device }: Asking, { epoch, generation, sealed }: Send, at: number): Addressed[] {
    this.#mustBeGeneration(generation)
    if (!this.isOnRoster(device)) throw notPermitted('the device is not on the roster')
    if (epoch > this.epoch || epoch < Math.max(this.epoch - limits.epochsBehindMax, this.floor))
      throw this.#stale('epoch')
    return this.#place(
      { kind: 'application', sealed, at },
      this.#audience().filter((each) => !same(each, device)),
    )
  }

  /**
   * What goes out by an accepted commit: the Welcomes first. The trees of Welcomes that still wait for somebody are kept.
   * Protocol 3 §6.7
   */
  commit(
    asking: Asking,
    request: Commit,
    { at, isWelcomed }: { at: number; isWelcomed: (device: DeviceId) => boolean },
  ): Addressed[] {
    const { generation, epoch, roster, groupInfo, tree, welcomes, commit, id } = request
    const { device, account } = asking
    this.#mustBeGeneration(generation)
    if (!this.#accountsHere().some((each) => same(each, account))) throw notPermitted('the account has no device here')
    if (epoch !== this.epoch) throw this.#stale('epoch')
    this.#mustBeAllowed(asking, roster)
    const before = this.#audience()
    const added = roster.filter((each) => !this.isOnRoster(each))
    if (this.roster.some((each) => !roster.some((other) => same(each, other)))) this.floor = epoch + 1
    this.epoch += 1
    this.roster = roster
    this.#expected = []
    this.#groupInfo = groupInfo
    this.#tree = tree
    for (const each of added) this.left.delete(toBase64url(this.#ownerOf(each) ?? each))
    const treeHash = this.#treeHash()
    this.#welcomeTrees = this.#welcomeTrees.filter(({ devices }) => devices.some(isWelcomed))
    if (added.length > 0) this.#welcomeTrees.push({ treeHash, tree, devices: added })
    const arriving = welcomes.flatMap(({ devices, welcome }) =>
      devices.map((to) => ({
        to,
        sealed: encode(DeliveredWelcome, { epoch: epoch + 1, sender: device, treeHash, welcome }),
      })),
    )
    const after = this.#audience().filter((each) => !before.some((other) => same(each, other)))
    const sealed = encode(DeliveredCommit, { epoch, sender: device, id, commit, roster })
    const out = this.#place({ kind: 'commit', sealed, at }, [...before, ...after])
    this.#committed = this.sequence
    const { conversation, sequence } = this
    return [
      ...arriving.map(({ to, sealed }) => ({
        to,
        parts: { conversation, generation, sequence, at, kind: 'welcome', sealed } as const,
      })),
      ...out,
    ]
  }

  recreate({ device }: Asking, { generation, roster }: RequestOf<'recreate'>): ResponseOf<'recreate'> {
    if (generation !== this.generation + 1) throw this.#stale('generation')
    if (!roster.some((each) => same(each, device))) throw notPermitted('whoever asks comes back')
    const back = roster.map((each) => this.#ownerOf(each))
    if (back.some((owner) => owner === undefined || !this.concerns(owner))) throw notPermitted('a stranger')
    const isThere = (account: AccountId): boolean => !this.left.has(toBase64url(account))
    const accounts = (this.#pair.length > 0 ? this.#pair : this.#accountsHere()).filter(isThere)
    const missing = accounts.filter((account) => !back.some((owner) => owner !== undefined && same(owner, account)))
    if (missing.length > (this.kind === 'group' ? 1 : 0)) throw notPermitted('others have to come back too')
    this.#expected = back.filter((owner) => owner !== undefined).filter(isThere)
    this.generation = generation
    this.epoch = 0
    this.floor = 0
    this.roster = [device]
    this.#groupInfo = new Uint8Array()
    this.#tree = new Uint8Array()
    this.#welcomeTrees = []
    return { conversation: this.conversation, generation, isNew: true }
  }

  /** What waited for a device for too long. Protocol 3 §7.5 */
  expire(device: string, sequence: number): void {
    this.#expired.add(`${device}/${sequence}`)
  }

  /** Why these were not delivered to the device. */
  explain(
    { device }: Asking,
    { from, through }: RequestOf<'explain'>,
    isWaiting: (sequence: number) => boolean,
  ): ResponseOf<'explain'> {
    const name = toBase64url(device)
    const reason = (sequence: number) => {
      if (!this.#log[sequence - 1]?.to.includes(name)) return 'not-addressed'
      if (this.#expired.has(`${name}/${sequence}`)) return 'expired'
      return isWaiting(sequence) ? 'waiting' : 'acknowledged'
    }
    const gaps: { from: number; through: number; why: ReturnType<typeof reason> }[] = []
    for (let sequence = from; sequence <= Math.min(through, this.sequence); sequence++) {
      const why = reason(sequence)
      const last = gaps.at(-1)
      if (last?.why === why) last.through = sequence
      else if (gaps.length < limits.pageMax) gaps.push({ from: sequence, through: sequence, why })
      else break
    }
    return gaps
  }

  #place(parts: Pick<Delivery, 'kind' | 'sealed' | 'at'>, to: readonly DeviceId[]): Addressed[] {
    this.sequence += 1
    const { conversation, generation, sequence } = this
    this.#log.push({ sequence, to: to.map(toBase64url) })
    return to.map((device) => ({ to: device, parts: { conversation, generation, sequence, ...parts } }))
  }

  #audience(): DeviceId[] {
    return this.roster.filter((device) => !this.left.has(toBase64url(this.#accountOf(device) ?? device)))
  }

  #accountsHere(): AccountId[] {
    const owners = this.roster.map((device) => this.#accountOf(device)).filter((owner) => owner !== undefined)
    return owners.filter((owner, i) => owners.findIndex((each) => same(each, owner)) === i)
  }

  #mustBeGeneration(generation: number): void {
    if (generation !== this.generation) throw this.#stale('generation')
  }

  #mustBeAllowed({ device, account }: Asking, roster: readonly DeviceId[]): void {
    const added = roster.filter((each) => !this.isOnRoster(each))
    const removed = this.roster.filter((each) => !roster.some((other) => same(each, other)))
    if (!roster.some((each) => same(each, device))) throw notPermitted('whoever commits is on the roster after it')
    if (new Set(roster.map(toBase64url)).size < roster.length) throw notPermitted('a device twice')
    const isRejoin = !this.isOnRoster(device)
    const isFine = isRejoin
      ? added.length === 1 &&
        removed.length <= 1 &&
        removed.every((each) => same(this.#accountOf(each) ?? each, account))
      : added.length === 0 || removed.length === 0
    if (!isFine) throw notPermitted('it adds and takes off')
    for (const each of added) {
      const owner = this.#ownerOf(each)
      if (owner === undefined || (this.#pair.length > 0 && !this.participates(owner))) throw notPermitted('not listed')
    }
  }

  #stale(what: 'epoch' | 'generation'): RefusedError {
    const { generation, epoch } = this
    const current: Current = { kind: 'epoch', body: { generation, epoch, sequence: this.#committed } }
    return new RefusedError(`stale-${what}`, `the conversation is in ${generation}/${epoch}`, { current })
  }

  #treeHash(): Hash {
    const digest = this.#tree.length === 0 ? new Uint8Array(32) : createHash('sha256').update(this.#tree).digest()
    return Uint8Array.from(digest) as Hash // SHA-256 makes a hash
  }
}

type ConversationRefKind = { conversation: ConversationId; kind: ConversationKind }

export function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0
}

export function notPermitted(why: string): RefusedError {
  return new RefusedError('not-permitted', why)
}
