import type { VerifiedList } from '@messageu/e2ee'
import type { Content } from '@messageu/e2ee/conversation'
import {
  type Accepted,
  type AccountId,
  type ContactRequest,
  type ConversationId,
  type DeviceId,
  RefusedError,
  type SendId,
} from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'
import type { Outcome } from '../outbox.ts'
import type { SeenPage } from '../people.ts'
import type { AccountRow, Alarm } from '../rows.ts'
import type { Session } from '../session.ts'
import { orAborted } from '../waiting.ts'
import { arrivals, somebody } from './arrivals.ts'
import { readDeviceCode, writeOffer } from './codes.ts'
import { type ClientOptions, connect, type Life, type Parts } from './connecting.ts'
import {
  type Confirmation,
  confirmation,
  judge,
  markVerified,
  type Safety,
  safetyWith,
  waitingRequests,
} from './contacts.ts'
import type { Desk, Wait } from './desk.ts'
import { admitDevice, dropDevice } from './devices.ts'
import { accountNamed, accountToCompare, conversationFor, conversationWith, type Known } from './finding.ts'
import type { Progress } from './giving.ts'
import { addPeople, appoint, createGroup, leave, removePeople, rename } from './groups.ts'
import type { Arrival, Item, Message, Somebody } from './items.ts'
import type { Keeper } from './keeper.ts'
import { amongOwn, mustManage } from './managing.ts'
import { reopen } from './opening.ts'
import { Reader } from './reader.ts'
import type { Sending } from './sending.ts'
import type { Settling } from './settling.ts'

/** A message on its way: stored here, and sent until it is answered. */
export interface Posted {
  readonly id: SendId
  readonly conversation: ConversationId
  /** Rejects if the session ends before the answer; the next session sends it again. */
  readonly outcome: Promise<Outcome>
}

/** A message that the server has accepted: it is durable there, and has its place. */
export interface Sent extends Accepted {
  readonly id: SendId
  readonly conversation: ConversationId
}

/**
 * One device of one account with its conversations: what it sends only their members can open, and what comes in is
 * opened, stored, and told once.
 */
export class Client implements AsyncDisposable {
  readonly account: AccountRow
  readonly #desk: Desk
  readonly #reader: Reader
  readonly #sending: Sending
  readonly #settling: Settling
  readonly #keeper: Keeper
  readonly #life: Life
  readonly #held: AsyncDisposable

  private constructor(account: AccountRow, parts: Parts, held: AsyncDisposable) {
    this.account = account
    this.#desk = parts.desk
    this.#reader = new Reader(account, parts.desk)
    this.#sending = parts.sending
    this.#settling = parts.settling
    this.#keeper = parts.keeper
    this.#life = parts.life
    this.#held = held
  }

  /** Throws `not-registered`, and what keeps a session from opening. */
  static async connect(options: ClientOptions): Promise<Client> {
    const { account, held, ...parts } = await connect(options)
    return new Client(account, parts, held)
  }

  get session(): Session {
    return this.#desk.session
  }

  // ─── messages ───

  /** Resolves when the message is stored: from then on it will be sent. WHO is a name, `me`, `#TITLE` or `#ID`. */
  async post(who: string, content: Content, wait: Wait): Promise<Posted> {
    mustSaySomething(content)
    return this.postTo(await conversationFor(this.#desk, this.#sending, who, wait), content, wait)
  }

  async postTo(conversation: ConversationId, content: Content, wait: Wait): Promise<Posted> {
    mustSaySomething(content)
    const { place, outcome } = await this.#sending.post(conversation, content, wait)
    return { id: place.id, conversation, outcome }
  }

  /**
   * Resolves when the server has accepted the message. Throws the refusal if it has not. The signal ends the wait: what is
   * stored by then goes out all the same.
   */
  async send(who: string, { text }: { text: string }, wait: Wait): Promise<Sent> {
    return accepted(await this.post(who, { kind: 'text', body: { text } }, wait), wait)
  }

  async sendTo(conversation: ConversationId, { text }: { text: string }, wait: Wait): Promise<Sent> {
    return accepted(await this.postTo(conversation, { kind: 'text', body: { text } }, wait), wait)
  }

  /**
   * What comes in, in batches. A batch counts as shown when the next one is asked for, and never comes again after that.
   * With `untilCaughtUp` it ends when everything that waited at the server has been handed out.
   */
  arrivals({ signal, untilCaughtUp = false }: Wait & { untilCaughtUp?: boolean }): AsyncGenerator<readonly Arrival[]> {
    return arrivals(this.#desk, { signal, isOver: () => untilCaughtUp && this.#life.isCaughtUp })
  }

  /** The messages among what comes in, one by one, each exactly once. What else comes is in the history. */
  async *messages({ signal }: Wait): AsyncGenerator<Message> {
    for await (const batch of this.arrivals({ signal }))
      for (const arrival of batch) if (arrival.kind === 'message' && !arrival.isOwn) yield arrival
  }

  /** The newest `limit` items of a conversation, the oldest first; with `before`, those in front of that place. */
  history(
    who: string,
    span: { limit?: number | undefined; before?: number | undefined } = {},
  ): Promise<readonly Item[]> {
    return this.#reader.history(who, span)
  }

  /** Bytes that convince a third party of who wrote a message, and what. CONVERSATIONS C 8 */
  prove(who: string, id: SendId): Promise<Uint8Array> {
    return this.#reader.prove(who, id)
  }

  // ─── conversations and groups ───

  conversations(): AsyncGenerator<Known> {
    return this.#reader.conversations()
  }

  /** The conversation that WHO stands for, among those that are there. */
  conversation(who: string): Promise<Known> {
    return this.#reader.conversation(who)
  }

  describe(conversation: ConversationId): Promise<Known | undefined> {
    return this.#reader.describe(conversation)
  }

  /** How many conversations this device was told of, in which it has not found its place: nothing proves them yet. */
  announced(): Promise<number> {
    return this.#reader.announced()
  }

  /** A group with these people. Those who cannot be brought in yet, because no device of theirs is known, are returned. */
  async createGroup(
    title: string,
    names: readonly string[],
    wait: Wait,
  ): Promise<{ conversation: ConversationId; absent: readonly Somebody[] }> {
    const accounts = await this.#accounts(names, wait)
    const { conversation, absent } = await createGroup(this.#desk, this.#sending, { title, accounts }, wait)
    return { conversation, absent: await this.#named(absent) }
  }

  async addPeople(group: string, names: readonly string[], wait: Wait): Promise<readonly Somebody[]> {
    const conversation = await conversationWith(this.#desk, group)
    const accounts = await this.#accounts(names, wait)
    return this.#named(await addPeople(this.#desk, this.#sending, { conversation, accounts }, wait))
  }

  async removePeople(group: string, names: readonly string[], wait: Wait): Promise<void> {
    const conversation = await conversationWith(this.#desk, group)
    await removePeople(this.#desk, { conversation, accounts: await this.#accounts(names, wait) }, wait)
  }

  async rename(group: string, title: string, wait: Wait): Promise<void> {
    await rename(this.#desk, this.#sending, { conversation: await conversationWith(this.#desk, group), title }, wait)
  }

  /** From now on these are the owners, and nobody else. */
  async appoint(group: string, names: readonly string[], wait: Wait): Promise<void> {
    const conversation = await conversationWith(this.#desk, group)
    await appoint(this.#desk, { conversation, owners: await this.#accounts(names, wait) }, wait)
  }

  async leave(who: string, wait: Wait): Promise<void> {
    await leave(this.#desk, this.#sending, await conversationWith(this.#desk, who), wait)
  }

  // ─── people ───

  people(wait: Wait): AsyncGenerator<SeenPage> {
    return this.session.people(wait)
  }

  alarms(): Promise<readonly Alarm[]> {
    return this.#reader.alarms()
  }

  /** The user has compared safety numbers: the name stands for the account that the alarm told of. */
  acceptAccount(name: string): Promise<void> {
    return this.session.acceptAccount(name)
  }

  /** The user has compared, or has not: the name goes on standing for the account known by it. The other one is refused. */
  async keepAccount(name: string, wait: Wait): Promise<void> {
    const account = await this.session.keepAccount(name)
    if (account === undefined) return
    try {
      await judge(this.#desk, this.#sending, { account, verdict: 'refuse' }, wait)
    } catch (error) {
      // the decision stands here, whether the server knows of that account any longer or not
      if (!(error instanceof RefusedError) || error.retry !== 'never') throw error
    }
  }

  /** Who waits to be accepted. */
  requests(wait: Wait): Promise<readonly ContactRequest[]> {
    return waitingRequests(this.#desk, wait)
  }

  async judge(name: string, verdict: 'accept' | 'refuse' | 'block' | 'unblock', wait: Wait): Promise<void> {
    const account = await accountNamed(this.#desk, name, wait)
    if (verdict === 'accept') await reopen(this.#desk, this.#sending, account, wait)
    await judge(this.#desk, this.#sending, { account, verdict }, wait)
  }

  /** Also for a name with an alarm: the number with the account that it stands for now. */
  async safetyWith(name: string, wait: Wait): Promise<Safety & { readonly isOtherAccount: boolean }> {
    const { account, isOtherAccount } = await accountToCompare(this.#desk, name, wait)
    return { ...(await safetyWith(this.#desk, account, wait)), isOtherAccount }
  }

  /** How far the device list that is known of an account was confirmed by its owner; nothing if none is known. */
  confirmation(account: AccountId): Promise<Confirmation | undefined> {
    return confirmation(this.#desk, account)
  }

  /** The user has compared the safety number with this person. */
  async markVerified(name: string, wait: Wait): Promise<void> {
    await markVerified(this.#desk, this.#sending, await accountNamed(this.#desk, name, wait), wait)
  }

  // ─── devices ───

  devices(wait: Wait): Promise<VerifiedList> {
    return this.session.ownList(wait)
  }

  /** Whether this device manages the account: lets devices in, and takes them off. Of other devices nobody can tell. */
  async manages(): Promise<boolean> {
    try {
      await mustManage(this.#desk)
      return true
    } catch (error) {
      if (error instanceof ClientError && error.reason === 'not-manager') return false
      throw error
    }
  }

  /** What a new device is told, so that it can ask to be one of this account. Throws `not-manager` where none can be let in. */
  async offer(): Promise<string> {
    await mustManage(this.#desk)
    const { host, port, serverKey, account } = this.account.identity
    return writeOffer({ host, port, serverKey, account })
  }

  /** Puts the device on the account's list whose code this is, and brings it into everything. */
  async admit(
    code: string,
    { isManager = false, tell = () => {}, signal }: Wait & { isManager?: boolean; tell?: (progress: Progress) => void },
  ): Promise<DeviceId> {
    const certificate = await readDeviceCode(code)
    await admitDevice(this.#desk, this.#settling, { certificate, isManager, tell }, { signal })
    return certificate.device
  }

  /** Resolves when the device that has linked this one has brought it among the account's own. */
  async broughtIn({ signal }: Wait): Promise<void> {
    await this.#desk.bell.until(async () => (await amongOwn(this.#desk)) !== undefined, signal)
  }

  async dropDevice(device: DeviceId, wait: Wait): Promise<void> {
    await dropDevice(this.#desk, device, wait)
  }

  // ─── the rest ───

  /** Resolves when everything that waited for this device at the server is stored. */
  async caughtUp({ signal }: Wait): Promise<void> {
    await this.#desk.bell.until(() => this.#life.isCaughtUp, signal)
  }

  /** Resolves when nothing is left to tend to that can be done now. */
  async idle(): Promise<void> {
    await this.#keeper.idle()
  }

  /** Whoever waits for something here is told that it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#desk.bell.end(new ClientError('ended', 'the client was closed'))
    await this.#held[Symbol.asyncDispose]()
  }

  async #accounts(names: readonly string[], wait: Wait): Promise<readonly AccountId[]> {
    const accounts: AccountId[] = []
    for (const name of names) accounts.push(await accountNamed(this.#desk, name, wait))
    return accounts
  }

  #named(accounts: readonly AccountId[]): Promise<readonly Somebody[]> {
    return Promise.all(accounts.map((account) => somebody(this.#desk.store, account)))
  }
}

/** Before anything is opened for it. What others send empty is shown as it is. */
function mustSaySomething(content: Content): void {
  if (content.kind === 'text' && content.body.text === '') throw new ClientError('empty-text', 'the text is empty')
}

async function accepted({ id, conversation, outcome }: Posted, { signal }: Wait): Promise<Sent> {
  const answered = await orAborted(outcome, signal)
  if (answered.kind === 'refused') throw answered.error
  return { id, conversation, ...answered.accepted }
}
