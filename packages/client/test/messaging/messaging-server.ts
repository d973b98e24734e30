import { createHash, randomBytes } from 'node:crypto'
import { newSeed, type SigningKey, signingKey } from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import {
  type Accepted,
  type AccountId,
  type Commit,
  type ContactRequest,
  type ConversationId,
  type Delivery,
  type DeviceId,
  Incarnation,
  limits,
  type Notice,
  RefusedError,
  type Send,
  toBase64url,
} from '@messageu/protocol/v3'
import { FakeServer, type FakeSession, type Handlers } from '../fake-server.ts'
import { type Addressed, type Asking, Ledger, notPermitted, same } from './ledger.ts'
import { Shelf } from './shelf.ts'

type Standing = 'accepted' | 'refused' | 'blocked'

/** A send or commit that was accepted, and who it was for. */
export interface Logged {
  readonly device: DeviceId
  readonly request: Send | Commit
  readonly accepted: Accepted
  readonly to: readonly DeviceId[]
}

/** What a test makes of something on its way to a device: nothing, the same several times, something else. */
export type Twist = (to: DeviceId, parts: Partial<Delivery>) => readonly Partial<Delivery>[]

/**
 * A server of version 3 that knows conversations. It keeps what docs/protocol.md promises, until a test tells it to twist
 * what it delivers, to lead members apart, or to go back to a copy of itself.
 */
/** A delivery that a device has not been given yet. */
export interface Held {
  readonly to: DeviceId
  readonly parts: Partial<Delivery>
}

export class MessagingServer extends FakeServer {
  readonly shelf = new Shelf(() => this.nowMs())
  readonly log: Logged[] = []
  twist: Twist | undefined
  /** What a test holds back for a device, and the server says is waiting. */
  held: readonly Held[] = []
  /** What becomes of commits before they come to the server, for members that spoil their own. */
  spoilt: ((device: DeviceId, request: Commit) => Commit) | undefined
  /** Time as the server has it. */
  nowMs: () => number = () => 1
  ledgers = new Map<string, Ledger>()
  /** Devices for which a test holds a Welcome back: to the server it waits, and so does its tree. */
  readonly #heldWelcomes = new Set<string>()
  /** Devices that are shown another course of a conversation, by conversation. */
  readonly #branches = new Map<string, { devices: readonly DeviceId[]; ledger: Ledger }>()
  #kept = new Map<string, { digest: string; accepted: Accepted }>()
  #standings = new Map<string, Standing>()
  #requests = new Map<string, ContactRequest[]>()
  readonly #strangerMessages = new Map<string, number>()
  /** What was named at registration, by its id. Protocol 3 §5.1 */
  readonly #ownDevices = new Map<string, { account: AccountId; conversation: ConversationId }>()

  static override async start(): Promise<MessagingServer> {
    const key: SigningKey = await signingKey(newSeed((count) => randomBytes(count)))
    return new MessagingServer(key)
  }

  override deliver(to: DeviceId, parts: Partial<Delivery> = {}): void {
    const twisted = this.twist?.(to, parts) ?? [parts]
    if (parts.kind === 'welcome' && twisted.length === 0) this.#heldWelcomes.add(toBase64url(to))
    for (const each of twisted) super.deliver(to, each)
  }

  override operations(session: FakeSession): Handlers {
    const asking = (): Asking => {
      const device = session.proved()
      return { device, account: this.#accountOf(device) }
    }
    return {
      publish: (packages) => this.shelf.publish(session.proved(), packages),
      'count-packages': () => this.shelf.count(session.proved()),
      claim: (account) => this.#claim(asking(), account),
      register: async ({ entry, ownDevices }) => {
        const { account } = await this.enrol(entry)
        this.#ownDevices.set(toBase64url(ownDevices), { account, conversation: ownDevices })
        return { account, ownDevices, isAdmin: false }
      },
      append: async ({ account, entry }) => this.#append(account, entry),
      conversations: () => this.#conversationsOf(asking()),
      open: ({ conversation, target }) => {
        const { account } = asking()
        return this.#open(asking(), conversation, target.kind === 'self' ? account : target.body)
      },
      create: ({ conversation }) => {
        const there = this.ledgers.get(toBase64url(conversation))
        const isNew = there === undefined
        const isRepeated = there?.generation === 1 && there.epoch === 0 && there.isOnRoster(session.proved())
        if (!isNew && !isRepeated) throw new RefusedError('conversation-exists', 'the id is in use')
        if (isNew) this.#begin(new Ledger({ conversation, kind: 'group' }, asking(), this.#owned))
        return { conversation, generation: 1, isNew }
      },
      commit: (request, body) => this.#commit(asking(), this.spoilt?.(session.proved(), request) ?? request, body),
      send: (request, body) => this.#send(asking(), request, body),
      recreate: (request) => this.#recreate(asking(), request),
      'read-state': ({ conversation }) => this.#partaken(asking(), conversation).shown,
      'read-tree': ({ conversation, treeHash }) => {
        const { device } = asking()
        const ledger = this.ledger(conversation, device)
        const shown = ledger?.welcomes(device, treeHash) ? ledger : this.#partaken(asking(), conversation)
        return { tree: shown.tree(treeHash) }
      },
      leave: ({ conversation }) => this.#leave(asking(), conversation),
      stuck: ({ conversation, generation, epoch }) => {
        const { device } = asking()
        const ledger = this.#partaken(asking(), conversation)
        if (ledger.generation !== generation) throw new RefusedError('stale-generation', 'it was begun anew')
        this.#notify(ledger.roster, { kind: 'stuck', body: { conversation, generation, epoch, device } }, device)
        return undefined
      },
      explain: (request) => {
        const device = session.proved()
        const held = this.held.filter(({ to }) => same(to, device)).map(({ parts }) => parts)
        const waiting = [...this.mailbox(device).waiting, ...held]
        const isWaiting = (sequence: number) =>
          waiting.some(
            (each) =>
              each.sequence === sequence &&
              each.conversation !== undefined &&
              same(each.conversation, request.conversation),
          )
        return this.#partaken(asking(), request.conversation).explain(asking(), request, isWaiting)
      },
      requests: () => this.#requests.get(toBase64url(asking().account)) ?? [],
      judge: ({ account, verdict }) => this.#judge(asking(), account, verdict),
    }
  }

  ledger(conversation: ConversationId, device?: DeviceId): Ledger | undefined {
    const name = toBase64url(conversation)
    const branch = this.#branches.get(name)
    const isLedApart = branch !== undefined && device !== undefined && branch.devices.some((each) => same(each, device))
    return isLedApart ? branch.ledger : this.ledgers.get(name)
  }

  /** From here on these devices are shown another course of the conversation than the others. S06 */
  leadApart(conversation: ConversationId, devices: readonly DeviceId[]): void {
    const ledger = this.ledgers.get(toBase64url(conversation))
    if (ledger === undefined) throw notPermitted('no such conversation')
    this.#branches.set(toBase64url(conversation), { devices, ledger: ledger.fork() })
  }

  /** Everybody is shown the same again: what the branch was is forgotten. */
  leadTogether(conversation: ConversationId): void {
    this.#branches.delete(toBase64url(conversation))
  }

  /** What brings the server back to where it is now, by a new incarnation. */
  copy(): () => void {
    const ledgers = new Map([...this.ledgers].map(([name, ledger]) => [name, ledger.fork()]))
    const { position } = this
    const [standings, requests] = [new Map(this.#standings), new Map(this.#requests)]
    const [kept, numbers, lists] = [new Map(this.#kept), new Map(this.sendNumbers), new Map(this.lists)]
    const boxes = [...this.mailboxes].map(([name, { acknowledged, waiting }]) => ({
      name,
      acknowledged,
      waiting: [...waiting],
    }))
    return () => {
      this.incarnation = decode(Incarnation, randomBytes(Incarnation.max))
      this.ledgers = ledgers
      this.position = position
      this.#kept = kept
      this.#standings = new Map(standings)
      this.#requests = new Map(requests)
      this.lists.clear()
      for (const [account, list] of lists) this.lists.set(account, list)
      this.sendNumbers.clear()
      for (const [name, number] of numbers) this.sendNumbers.set(name, number)
      this.mailboxes.clear()
      for (const { name, acknowledged, waiting } of boxes) this.mailboxes.set(name, { acknowledged, waiting })
      for (const session of this.sessions) session.cut()
    }
  }

  /** Forgets what has waited for too long. Protocol 3 §7.5 */
  expire(): void {
    for (const [device, { waiting }] of this.mailboxes) {
      const isOld = ({ kind, at }: Delivery): boolean =>
        this.nowMs() - at > (kind === 'application' ? limits.retentionMs : limits.handshakeRetentionMs)
      for (const { kind, conversation, sequence } of waiting.filter(isOld))
        if (kind !== 'welcome') this.ledgers.get(toBase64url(conversation))?.expire(device, sequence)
      waiting.splice(0, waiting.length, ...waiting.filter((each) => !isOld(each)))
    }
  }

  sessionsOf(device: DeviceId): readonly FakeSession[] {
    return this.sessions.filter((session) => session.isOpen && session.device && same(session.device, device))
  }

  /** Puts something into the way to a device that nobody has sent. */
  slip(to: DeviceId, parts: Partial<Delivery>): void {
    if (parts.kind === 'welcome') this.#heldWelcomes.delete(toBase64url(to))
    super.deliver(to, parts)
  }

  // ─── conversations ───

  #conversationsOf({ device, account }: Asking) {
    for (const conversation of this.#ownDevices.values()) this.#beginOwn({ account }, conversation.conversation)
    const conversations = [...this.ledgers.values()]
      .filter((ledger) => ledger.participates(account))
      .sort((one, other) => Buffer.compare(one.conversation, other.conversation))
      .map((ledger) => ({
        conversation: ledger.conversation,
        kind: ledger.kind,
        generation: ledger.generation,
        isOnRoster: ledger.isOnRoster(device),
      }))
    return { conversations, isLast: true }
  }

  #begin(ledger: Ledger): void {
    this.ledgers.set(toBase64url(ledger.conversation), ledger)
  }

  #open(asking: Asking, conversation: ConversationId, other: AccountId) {
    const isSelf = same(other, asking.account)
    const kind = isSelf ? 'self' : 'direct'
    if (!this.lists.has(toBase64url(other)) || this.#isShutOut(asking.account, other)) throw notPermitted('nobody')
    const there = [...this.ledgers.values()].find(
      (ledger) => ledger.kind === kind && ledger.concerns(asking.account) && ledger.concerns(other) && !ledger.isClosed,
    )
    if (!isSelf) this.#standings.set(pairOf(other, asking.account), 'accepted')
    there?.left.delete(toBase64url(asking.account))
    if (there !== undefined) return { conversation: there.conversation, generation: there.generation, isNew: false }
    const pair = isSelf ? [other] : [asking.account, other]
    this.#begin(new Ledger({ conversation, kind, pair }, asking, this.#owned))
    if (!isSelf) this.#introduce(asking.account, other, conversation)
    return { conversation, generation: 1, isNew: true }
  }

  #commit(asking: Asking, request: Commit, body: Uint8Array): Accepted {
    return this.#once(asking, request, body, (ledger, at) => {
      for (const device of request.roster) {
        const account = this.#owned(device)
        if (account === undefined || ledger.isOnRoster(device)) continue
        if (this.#isShutOut(asking.account, account)) throw notPermitted('no such device')
        if (ledger.kind === 'group') this.#introduce(asking.account, account, request.conversation)
      }
      const isWelcomed = (to: DeviceId): boolean =>
        this.#heldWelcomes.has(toBase64url(to)) || this.mailbox(to).waiting.some(({ kind }) => kind === 'welcome')
      return ledger.commit(asking, request, { at, isWelcomed })
    })
  }

  #send(asking: Asking, request: Send, body: Uint8Array): Accepted {
    return this.#once(asking, request, body, (ledger, at) => {
      const by = ledger.kind === 'group' ? ledger.creator : asking.account
      const accounts = ledger.roster.map((device) => this.#owned(device)).filter((owner) => owner !== undefined)
      for (const account of accounts) {
        if (same(account, asking.account) || this.#standing(by, account) === 'accepted') continue
        const pair = pairOf(asking.account, account)
        const count = (this.#strangerMessages.get(pair) ?? 0) + 1
        if (count > limits.strangerMessagesMax) throw new RefusedError('limited', 'wait until they know you')
        this.#strangerMessages.set(pair, count)
      }
      return ledger.send(asking, request, at)
    })
  }

  /** Accepted once, however often it is asked. Protocol 3 §6.5 */
  #once(
    asking: Asking,
    request: Send | Commit,
    body: Uint8Array,
    accept: (ledger: Ledger, at: number) => readonly Addressed[],
  ): Accepted {
    const { device } = asking
    const key = `${toBase64url(device)}/${request.number}`
    const digest = createHash('sha256').update(body).digest('hex')
    const before = this.#kept.get(key)
    if (before !== undefined && before.digest !== digest) throw new RefusedError('id-reused', 'other bytes')
    if (before !== undefined) return before.accepted
    const ledger = this.#partaken(asking, request.conversation)
    ledger.mustTakePart(asking)
    const at = this.nowMs()
    const led = accept(ledger, at)
    const out = led.filter(({ to }) => this.ledger(request.conversation, to) === ledger)
    for (const { to, parts } of out) this.deliver(to, parts)
    this.position += 1
    const accepted = { sequence: ledger.sequence, position: this.position, at }
    this.#kept.set(key, { digest, accepted })
    this.accepted.push(request)
    this.log.push({ device, request, accepted, to: out.map(({ to }) => to) })
    const name = toBase64url(device)
    this.sendNumbers.set(name, Math.max(this.sendNumbers.get(name) ?? 0, request.number))
    return accepted
  }

  #recreate(asking: Asking, request: Parameters<Ledger['recreate']>[1]) {
    const ledger = this.#partaken(asking, request.conversation)
    const before = ledger.roster
    const opened = ledger.recreate(asking, request)
    const { conversation, generation } = opened
    const told = [...before, ...request.roster]
    this.#notify(told, { kind: 'regenerated', body: { conversation, generation } }, asking.device)
    return opened
  }

  #leave({ device, account }: Asking, conversation: ConversationId): undefined {
    const ledger = this.#partaken({ device, account }, conversation)
    if (ledger.kind === 'own-devices') throw notPermitted('own devices stay')
    ledger.left.add(toBase64url(account))
    const { generation, roster } = ledger
    this.#notify(roster, { kind: 'left', body: { conversation, generation, account } }, device)
  }

  #partaken({ device, account }: Asking, conversation: ConversationId): Ledger {
    this.#beginOwn({ account }, conversation)
    const ledger = this.ledger(conversation, device)
    if (ledger === undefined || !ledger.participates(account)) throw notPermitted('no such conversation')
    return ledger
  }

  /** The one of the own devices is there from registration on; it is made when somebody first looks for it. */
  #beginOwn({ account }: Pick<Asking, 'account'>, conversation: ConversationId): void {
    const name = toBase64url(conversation)
    const owner = this.#ownDevices.get(name)?.account
    if (this.ledgers.has(name) || owner === undefined || !same(owner, account)) return
    const first = this.lists.get(toBase64url(account))?.list.devices[0]
    if (first === undefined) return
    const asking = { device: first.device, account }
    this.#begin(new Ledger({ conversation, kind: 'own-devices', pair: [account] }, asking, this.#owned))
  }

  // ─── accounts ───

  readonly #owned = (device: DeviceId): AccountId | undefined => this.owner(device)?.account

  #accountOf(device: DeviceId): AccountId {
    const account = this.#owned(device)
    if (account === undefined) throw new RefusedError('unproved', 'the device is not on a list')
    return account
  }

  async #append(account: AccountId, entry: Uint8Array) {
    const { version, hash } = await this.append(account, entry)
    for (const session of this.sessions) {
      if (session.device === undefined || !session.isOpen) continue
      const owner = this.#owned(session.device)
      if (owner !== undefined) session.notice({ kind: 'list-changed', body: { account, version, hash } })
      else session.notice({ kind: 'delisted', body: undefined })
    }
    return { version, hash }
  }

  #claim(asking: Asking, account: AccountId) {
    const kept = this.lists.get(toBase64url(account))
    if (kept === undefined || this.#isShutOut(asking.account, account)) throw notPermitted('nobody')
    this.shelf.countClaim(account)
    const claimed = this.shelf.claim(kept.list.devices.map(({ device }) => device))
    for (const { device } of claimed) {
      const count = this.shelf.count(device)
      if (count.singleUse < limits.keyPackagesLow) this.#notify([device], { kind: 'key-packages-low', body: count })
    }
    return claimed
  }

  // ─── strangers ───

  #standing(by: AccountId, towards: AccountId): Standing | 'stranger' {
    return same(by, towards) ? 'accepted' : (this.#standings.get(pairOf(by, towards)) ?? 'stranger')
  }

  #isShutOut(by: AccountId, towards: AccountId): boolean {
    const standing = this.#standing(by, towards)
    return standing === 'refused' || standing === 'blocked'
  }

  #introduce(by: AccountId, account: AccountId, conversation: ConversationId): void {
    if (this.#standing(by, account) === 'accepted') return
    const name = this.lists.get(toBase64url(by))?.list.name
    if (name === undefined) return
    const waiting = (this.#requests.get(toBase64url(account)) ?? []).filter((each) => !same(each.account, by))
    this.#requests.set(toBase64url(account), [...waiting, { account: by, name, conversation, at: this.nowMs() }])
  }

  #judge({ account: own }: Asking, account: AccountId, verdict: 'accept' | 'refuse' | 'block' | 'unblock'): undefined {
    const standing = { accept: 'accepted', refuse: 'refused', block: 'blocked', unblock: undefined } as const
    const next = standing[verdict]
    if (next === undefined) this.#standings.delete(pairOf(account, own))
    else this.#standings.set(pairOf(account, own), next)
    const waiting = this.#requests.get(toBase64url(own)) ?? []
    const rest = waiting.filter((each) => !same(each.account, account))
    this.#requests.set(toBase64url(own), rest)
  }

  #notify(devices: readonly DeviceId[], notice: Notice, except?: DeviceId): void {
    for (const device of devices)
      if (except === undefined || !same(device, except))
        for (const session of this.sessionsOf(device)) session.notice(notice)
  }
}

/** Whoever asks, in front of whom they ask. */
function pairOf(by: AccountId, towards: AccountId): string {
  return `${toBase64url(by)}/${toBase64url(towards)}`
}
