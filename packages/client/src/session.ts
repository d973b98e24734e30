import type { RandomBytes, SeenList, VerifiedList } from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import {
  type AccountId,
  accountName,
  type ContactRequest,
  ConversationId,
  type KeyPackage,
  type Link,
  type Notice,
  type Opening,
  type OperationName,
  type Person,
} from '@messageu/protocol/v3'
import { acceptAccount, keepAccount, readAlarms } from './alarms.ts'
import type { Asker } from './asker.ts'
import { sameBytes } from './bytes.ts'
import { Committer, type Decision } from './committer.ts'
import { Connection, type World } from './connection.ts'
import { conversations, type ListedConversation } from './conversations.ts'
import { badAnswer, ClientError } from './errors.ts'
import { whyUnknown } from './forgotten.ts'
import { Inbox, type Receiver } from './inbox.ts'
import { type ListSource, readList } from './lists.ts'
import { Outbox, type Outcome, type Place, type Seal, type Sealed, type Sender } from './outbox.ts'
import { find, people, type SeenPage } from './people.ts'
import type { Phase } from './phase.ts'
import { proverOf } from './registering.ts'
import { type AccountRow, type Alarm, accountKeys, accountRow, getRow } from './rows.ts'
import type { Store } from './store.ts'
import type { RequestOf, ResponseOf } from './wire.ts'

/** What happens without being asked for. */
export type SessionEvent =
  | { readonly kind: 'phase'; readonly phase: Phase }
  /** The server was restored from a copy: it counts anew, and may deliver again what was received before. */
  | { readonly kind: 'incarnation' }
  | { readonly kind: 'notice'; readonly notice: Notice }
  /** A batch of deliveries was stored, or the answer to a send. */
  | { readonly kind: 'stored' }
  /** Everything that waited for this device is stored. */
  | { readonly kind: 'caught-up' }

export interface SessionOptions {
  readonly store: Store
  readonly world: World
  readonly signal: AbortSignal
  /** Who opens what is delivered; without one nothing is asked for. */
  readonly receiver?: Receiver
  /** Who seals again what was sealed for an epoch that has passed; without one it counts as refused. */
  readonly sender?: Sender
  readonly onEvent?: (event: SessionEvent) => void
  /** Whether the first failure to connect is the end, or one more reason to try again. */
  readonly patience?: 'one-attempt' | 'for-ever'
}

/** What the outbox, the inbox and the connection ask by themselves. */
type Internal = 'prove' | 'register' | 'recover' | 'send' | 'commit' | 'credit' | 'acknowledge'

interface Parts {
  readonly connection: Connection
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly committer: Committer
}
type Wait = { readonly signal: AbortSignal }

/** Who this profile is, or nothing if it never registered. */
export async function whoAmI(store: Store): Promise<AccountRow | undefined> {
  return getRow(store, accountRow, accountKeys.account)
}

/** Opens the session of the device that this profile is. Throws `not-registered`, and what keeps a session from opening. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const account = await whoAmI(options.store)
  if (account === undefined) throw new ClientError('not-registered', 'this profile has no account yet')
  const session = await Session.begin(account, options)
  try {
    await session.ready(options)
    return session
  } catch (error) {
    await session[Symbol.asyncDispose]()
    throw error
  }
}

/** One device of one account at its server: what can be asked, sent and received. The server's answers are checked here. */
export class Session implements AsyncDisposable {
  readonly account: AccountRow
  readonly #store: Store
  readonly #connection: Connection
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  readonly #committer: Committer
  readonly #random: RandomBytes
  readonly #source: ListSource

  private constructor(account: AccountRow, { store, world }: SessionOptions, parts: Parts) {
    this.account = account
    this.#store = store
    this.#connection = parts.connection
    this.#outbox = parts.outbox
    this.#inbox = parts.inbox
    this.#committer = parts.committer
    this.#random = world.random
    const { serverKey } = account.identity
    this.#source = { asker: this.#connection, store, clock: world.clock, serverKey, own: account.identity.account }
  }

  /** Begins to connect, without waiting for it. */
  static async begin(account: AccountRow, options: SessionOptions): Promise<Session> {
    const { store, world, receiver, sender = plainSender, onEvent = () => {} } = options
    const { host, port, serverKey } = account.identity
    const link: Link = { host, port, serverKey, invite: undefined }
    let connection: Connection | undefined
    let isTriedAgain = false
    const fail = (why: Error): void => connection?.end(why)
    const committer = new Committer(store)
    const answered = (): void => onEvent({ kind: 'stored' })
    const outbox = await Outbox.load({
      store,
      clock: world.clock,
      random: world.random,
      sender,
      committer,
      stored: answered,
      fail,
    })
    const received = (): void => {
      outbox.moved()
      onEvent({ kind: 'stored' })
    }
    const inbox = await Inbox.load({ store, receiver, committer, stored: received, fail })
    connection = new Connection(link, await proverOf(account.identity), world, {
      async admit({ hello, opened }) {
        if (!sameBytes(opened.account, account.identity.account)) throw badAnswer('a session of another account')
        outbox.admit(opened)
        if ((await inbox.admit(hello, opened)) === 'restored') onEvent({ kind: 'incarnation' })
      },
      opened(wire, opened) {
        isTriedAgain = false
        outbox.opened(wire)
        inbox.opened(wire, opened)
      },
      async unproved(why, signal) {
        const meaning = await whyUnknown({ identity: account.identity, store, world, signal }, why)
        if (meaning !== 'listed') return meaning
        // a server that lists it and still does not take its proof would be asked for ever
        if (isTriedAgain) return why
        isTriedAgain = true
        return new ClientError('lost', 'the server has just been told of this device again')
      },
      deliver: (delivery) => inbox.deliver(delivery),
      notice(notice) {
        if (notice.kind !== 'caught-up') onEvent({ kind: 'notice', notice })
        else void inbox.idle().then(() => onEvent({ kind: 'caught-up' }))
      },
      phase(phase) {
        if (phase.phase === 'ended') void outbox.end(phase.why)
        onEvent({ kind: 'phase', phase })
      },
    })
    return new Session(account, options, { connection, outbox, inbox, committer })
  }

  /** For whatever is asked beside the methods here. */
  get asker(): Asker {
    return this.#connection
  }

  get phase(): Phase {
    return this.#connection.phase
  }

  async ready({ signal, patience = 'one-attempt' }: Wait & Pick<SessionOptions, 'patience'>): Promise<void> {
    await this.#connection.ready({ signal, patience })
  }

  /** Any request of the protocol's table that does not concern delivery, for what has no method here. */
  request<N extends Exclude<OperationName, Internal>>(
    name: N,
    request: RequestOf<N>,
    wait: Wait,
  ): Promise<ResponseOf<N>> {
    return this.#connection.request(name, request, wait)
  }

  /** Stores what is decided, together with whatever else is to be stored now. Resolves when it is durable. */
  change<T>(decide: Decision<T>): Promise<T> {
    return this.#committer.run(decide)
  }

  // ─── accounts ───

  find(name: string, wait: Wait): Promise<Person | undefined> {
    return find(this.#source, name, wait)
  }

  people(wait: Wait): AsyncGenerator<SeenPage> {
    return people(this.#source, wait)
  }

  /** The verified list of an account; `told` spares reading it again when it has not changed. */
  readList(account: AccountId, options: Wait & { told?: SeenList }): Promise<VerifiedList> {
    return readList(this.#source, account, options)
  }

  /** The list of one's own account: which devices there are. */
  ownList(wait: Wait): Promise<VerifiedList> {
    return this.readList(this.account.identity.account, wait)
  }

  alarms(): Promise<readonly Alarm[]> {
    return readAlarms(this.#store)
  }

  /** The user has compared safety numbers: from now on the name stands for the account that the alarm told of. */
  async acceptAccount(name: string): Promise<void> {
    await acceptAccount(this.#store, accountName(name))
  }

  /** The name goes on standing for the account that it stood for. Resolves with the one that the alarm told of. */
  keepAccount(name: string): Promise<AccountId | undefined> {
    return keepAccount(this.#store, accountName(name))
  }

  requests(wait: Wait): Promise<readonly ContactRequest[]> {
    return this.request('requests', undefined, wait)
  }

  async judge(account: AccountId, verdict: RequestOf<'judge'>['verdict'], wait: Wait): Promise<void> {
    await this.request('judge', { account, verdict }, wait)
  }

  publish(packages: readonly KeyPackage[], wait: Wait): Promise<ResponseOf<'publish'>> {
    return this.request('publish', packages, wait)
  }

  // ─── conversations ───

  conversations(wait: Wait): AsyncGenerator<ListedConversation> {
    return conversations(this.#connection, wait)
  }

  /** The direct conversation with an account, or the one with oneself: there is one of each. Protocol 3 §6.2 */
  open(target: Opening['target'], wait: Wait): Promise<ResponseOf<'open'>> {
    return this.request('open', { conversation: this.#newConversation(), target }, wait)
  }

  /** A new group, with nobody in it but this device. Protocol 3 §6.3 */
  create(wait: Wait): Promise<ResponseOf<'create'>> {
    return this.request('create', { conversation: this.#newConversation() }, wait)
  }

  /**
   * Stores what `seal` makes for the place that it is given, and sends it until it is answered, also after this process
   * has ended. Resolves when it is stored; `outcome` when it is answered, and the answer is stored; if the session ends
   * before that, `outcome` rejects with the reason, and the next session sends it. Protocol 3 §6.5
   */
  submit(seal: Seal, wait: Wait): Promise<{ place: Place; outcome: Promise<Outcome> }> {
    return this.#outbox.submit(seal, wait)
  }

  /** The same for a request that is sealed without regard to its place. */
  submitSealed(sealed: Sealed, wait: Wait): Promise<{ place: Place; outcome: Promise<Outcome> }> {
    return this.submit(async () => ({ sealed, changes: [] }), wait)
  }

  /** Resolves when nothing is asked or stored any more: then the store may be closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]()
    await this.#outbox.end(new ClientError('ended', 'the session was closed on this side'))
    await this.#inbox.idle()
    await this.#committer.idle()
  }

  #newConversation(): ConversationId {
    return decode(ConversationId, this.#random(ConversationId.max))
  }
}

/** Opaque payloads cannot be sealed again. */
const plainSender: Sender = {
  answered: async () => [],
  reseal: async () => undefined,
}
