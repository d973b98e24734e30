import { createHash, randomBytes } from 'node:crypto'
import {
  continueVerified,
  newSeed,
  type SigningKey,
  signingKey,
  type VerifiedList,
  verifyList,
  verifySignature,
} from '@messageu/e2ee'
import { type Codec, decode, encode } from '@messageu/protocol'
import {
  type Accepted,
  type AccountId,
  answers,
  type Commit,
  ConversationId,
  contexts,
  type Delivery,
  type DeviceId,
  events,
  type Frame,
  Hello,
  Incarnation,
  Invite,
  inContext,
  type Link,
  ListEntry,
  Nonce,
  type Notice,
  type OperationName,
  operations,
  type Person,
  type Proof,
  Refusal,
  RefusedError,
  readFrames,
  refusalOf,
  type Send,
  type SessionOpened,
  SessionTranscript,
  Signature,
  toBase64url,
  writeFrame,
} from '@messageu/protocol/v3'
import { ClientError } from '../src/errors.ts'
import type { Channel, ChannelEvents, Transport } from '../src/transport.ts'
import type { RequestOf, ResponseOf } from '../src/wire.ts'

interface Kept {
  readonly digest: string
  readonly accepted: Accepted
}

interface Mailbox {
  acknowledged: number
  readonly waiting: Delivery[]
}

/** What a test makes of one request, instead of what a good server does. */
export type Reply =
  | { readonly kind: 'answer'; readonly body: Uint8Array }
  | { readonly kind: 'refuse'; readonly error: RefusedError }
  | { readonly kind: 'frames'; readonly bytes: Uint8Array }
  | { readonly kind: 'silence' }

export type Handlers = {
  [N in OperationName]?: (request: RequestOf<N>, body: Uint8Array) => ResponseOf<N> | Promise<ResponseOf<N>>
}

/**
 * A server of version 3 in memory: what it promises it keeps over any number of connections, and what a test tells it to
 * do wrong it does.
 */
export class FakeServer implements Transport {
  readonly key: SigningKey
  readonly lists = new Map<string, { entries: Uint8Array[]; list: VerifiedList }>()
  readonly mailboxes = new Map<string, Mailbox>()
  /** Sends and commits in the order in which they were accepted. */
  readonly accepted: (Send | Commit)[] = []
  readonly #kept = new Map<string, Kept>()
  readonly sendNumbers = new Map<string, number>()
  readonly sessions: FakeSession[] = []
  /** Every request, in order. */
  readonly requests: { name: OperationName; body: Uint8Array }[] = []
  /** Asked before anything is done; what it returns is said instead. */
  lie: ((name: OperationName, body: Uint8Array, session: FakeSession) => Reply | undefined) | undefined
  hello: Partial<Hello> = {}
  opened: Partial<SessionOpened> = {}
  incarnation = decode(Incarnation, randomBytes(Incarnation.max))
  isReachable = true
  /** Where programs find it; those that have it as their transport need not ask. */
  address = { host: 'server.example', port: 443 }
  certificate: Channel['certificate']
  position = 0

  protected constructor(key: SigningKey) {
    this.key = key
  }

  static async start(): Promise<FakeServer> {
    return new FakeServer(await signingKey(newSeed((count) => randomBytes(count))))
  }

  /** What it knows beside sessions, accounts and sends; a server that knows conversations says more. */
  operations(_session: FakeSession): Handlers {
    return {}
  }

  get link(): Link {
    return { ...this.address, serverKey: this.key.publicKey, invite: undefined }
  }

  get session(): FakeSession {
    const session = this.sessions.at(-1)
    if (session === undefined) throw new Error('nobody has connected')
    return session
  }

  async open(_link: Link, events: ChannelEvents): Promise<Channel> {
    if (!this.isReachable) throw new ClientError('unreachable', 'the fake server is down')
    const session = new FakeSession(this, events)
    this.sessions.push(session)
    session.greet()
    return session
  }

  /** Something for a device; it goes out as soon as there is credit. */
  deliver(to: DeviceId, parts: Partial<Delivery> = {}): void {
    this.position += 1
    const delivery: Delivery = {
      position: this.position,
      conversation: someConversation,
      generation: 1,
      sequence: this.position,
      at: 1,
      kind: 'application',
      sealed: Uint8Array.of(this.position & 255),
      ...parts,
    }
    this.mailbox(to).waiting.push(delivery)
    for (const session of this.sessions) session.push()
  }

  mailbox(device: DeviceId): Mailbox {
    const key = toBase64url(device)
    const mailbox = this.mailboxes.get(key) ?? { acknowledged: 0, waiting: [] }
    this.mailboxes.set(key, mailbox)
    return mailbox
  }

  /** Everything that was promised since the copy is gone, and it says so by a new incarnation. */
  restore(): void {
    this.incarnation = decode(Incarnation, randomBytes(Incarnation.max))
    this.position = 0
    for (const mailbox of this.mailboxes.values()) {
      mailbox.acknowledged = 0
      mailbox.waiting.length = 0
    }
  }

  accept(device: DeviceId, request: Send | Commit, body: Uint8Array): Accepted {
    const key = `${toBase64url(device)}/${request.number}`
    const digest = createHash('sha256').update(body).digest('hex')
    const before = this.#kept.get(key)
    if (before !== undefined && before.digest !== digest) throw new RefusedError('id-reused', 'other bytes')
    if (before !== undefined) return before.accepted
    this.position += 1
    const accepted = { sequence: this.accepted.length + 1, position: this.position, at: 1 }
    this.accepted.push(request)
    this.#kept.set(key, { digest, accepted })
    const name = toBase64url(device)
    this.sendNumbers.set(name, Math.max(this.sendNumbers.get(name) ?? 0, request.number))
    return accepted
  }

  async enrol(entry: Uint8Array): Promise<VerifiedList> {
    const list = await verifyList([entry])
    const key = toBase64url(list.account)
    if (!this.lists.has(key)) this.lists.set(key, { entries: [entry], list })
    return list
  }

  async append(account: AccountId, entry: Uint8Array): Promise<VerifiedList> {
    const name = toBase64url(account)
    const kept = this.lists.get(name)
    if (kept === undefined) throw new RefusedError('not-permitted', 'no such account')
    const next = await continueVerified(kept.list, [entry]).catch(() => undefined)
    if (next === undefined) {
      const { version, hash } = kept.list
      throw new RefusedError('stale-list', 'it has grown', { current: { kind: 'list', body: { version, hash } } })
    }
    this.lists.set(name, { entries: [...kept.entries, entry], list: next })
    return next
  }

  people(): Person[] {
    return [...this.lists.values()]
      .map(({ list: { account, name, version, hash } }) => ({ account, name, listVersion: version, listHash: hash }))
      .sort((one, other) => Buffer.compare(Buffer.from(one.name), Buffer.from(other.name)))
  }

  owner(device: DeviceId): VerifiedList | undefined {
    return [...this.lists.values()]
      .map(({ list }) => list)
      .find(({ devices }) => devices.some((each) => Buffer.from(each.device).equals(device)))
  }
}

export const someConversation = decode(ConversationId, new Uint8Array(ConversationId.max).fill(7))

/** One connection to the fake server. */
export class FakeSession implements Channel {
  readonly #server: FakeServer
  readonly #events: ChannelEvents
  readonly #nonce = decode(Nonce, randomBytes(Nonce.max))
  device: DeviceId | undefined
  credit = { messages: 0, bytes: 0 }
  isCaughtUp = false
  /** Everything up to here has been delivered in this session. */
  delivered = 0
  isOpen = true
  /** Messages that came from the client. */
  readonly messages: Uint8Array[] = []
  #work: Promise<void> = Promise.resolve()

  constructor(server: FakeServer, events: ChannelEvents) {
    this.#server = server
    this.#events = events
  }

  get certificate(): Channel['certificate'] {
    return this.#server.certificate
  }

  get #hello(): Hello {
    return {
      minorMin: 0,
      minorMax: 0,
      incarnation: this.#server.incarnation,
      nonce: this.#nonce,
      serverKey: this.#server.key.publicKey,
      frameBytesMax: 6 * 2 ** 20,
      sealedBytesMax: 262_144,
      outstandingMax: 256,
      ...this.#server.hello,
    }
  }

  greet(): void {
    this.say(events.hello.code, 0, encode(Hello, this.#hello))
  }

  /** From the client. */
  send(message: Uint8Array): void {
    if (!this.isOpen) return
    this.messages.push(message)
    this.#work = this.#work.then(() => this.#hear(message))
  }

  /** By the client: it hears of nothing after that. */
  close(): void {
    this.isOpen = false
  }

  /** By the network. */
  cut(): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.#events.closed(new ClientError('lost', 'the fake network was cut'))
  }

  say(code: number, request: number, body: Uint8Array): void {
    this.sayBytes(writeFrame({ code, request, body }))
  }

  sayBytes(bytes: Uint8Array): void {
    if (this.isOpen) this.#events.message(bytes)
  }

  notice(notice: Notice): void {
    this.say(events.notice.code, 0, encode(events.notice.body as Codec<Notice>, notice))
  }

  deliver(delivery: Delivery): void {
    this.say(events.deliver.code, 0, encode(events.deliver.body, delivery))
  }

  /** What waits, as far as there is credit. */
  push(): void {
    if (this.device === undefined || !this.isOpen) return
    for (const delivery of [...this.#server.mailbox(this.device).waiting]) {
      if (delivery.position <= this.delivered) continue
      if (this.credit.messages < 1 || this.credit.bytes < delivery.sealed.length) return
      this.credit.messages -= 1
      this.credit.bytes -= delivery.sealed.length
      this.delivered = delivery.position
      this.deliver(delivery)
    }
    if (this.isCaughtUp || this.credit.messages < 1) return
    this.isCaughtUp = true
    this.notice({ kind: 'caught-up', body: undefined })
  }

  async #hear(message: Uint8Array): Promise<void> {
    for (const frame of readFrames(message)) {
      if (!this.isOpen) return
      const [name] = Object.entries(operations).find(([, { code }]) => code === frame.code) ?? []
      await this.#reply(name as OperationName, frame) // a client of ours uses the codes of the table
    }
  }

  async #reply(name: OperationName, { request, body }: Frame): Promise<void> {
    this.#server.requests.push({ name, body })
    const lie = this.#server.lie?.(name, body, this)
    if (lie?.kind === 'silence') return
    if (lie?.kind === 'frames') return this.sayBytes(lie.bytes)
    if (lie?.kind === 'answer') return this.say(answers.done, request, lie.body)
    try {
      if (lie !== undefined) throw lie.error
      this.say(answers.done, request, await this.#answer(name, body))
      this.push()
    } catch (error) {
      this.say(answers.refused, request, encode(Refusal, refusalOf(error)))
    }
  }

  async #answer<N extends OperationName>(name: N, body: Uint8Array): Promise<Uint8Array> {
    const more: Handlers = this.#server.operations(this)
    const handler = more[name] ?? this.#handlers[name]
    if (handler === undefined) throw new RefusedError('unknown-code', `the fake server does not know ${name}`)
    return done(name, await handler(requested(name, body), body))
  }

  readonly #handlers: Handlers = {
    prove: (proof) => this.#prove(proof),
    register: async ({ entry, ownDevices }) => {
      const { account } = await this.#server.enrol(entry)
      return { account, ownDevices, isAdmin: false }
    },
    recover: async ({ account, entry }) => {
      const { version, hash } = await this.#server.append(account, entry)
      return { version, hash }
    },
    'read-list': ({ account, after }) => {
      const kept = this.#server.lists.get(toBase64url(account))
      if (kept === undefined) throw new RefusedError('not-permitted', 'no such account')
      return { version: kept.list.version, entries: kept.entries.slice(after, after + 2) }
    },
    find: ({ after }) => this.#server.people().find((person) => person.name === after),
    people: (request) => this.#people(request),
    conversations: () => ({
      conversations: [{ conversation: someConversation, kind: 'own-devices', generation: 1, isOnRoster: true }],
      isLast: true,
    }),
    credit: ({ messages, bytes }) => {
      this.credit.messages += messages
      this.credit.bytes += bytes
      return undefined
    },
    acknowledge: ({ through }) => {
      if (through > this.delivered) throw new RefusedError('not-permitted', 'it was not delivered')
      const mailbox = this.#server.mailbox(this.proved())
      mailbox.acknowledged = Math.max(mailbox.acknowledged, through)
      const kept = mailbox.waiting.filter(({ position }) => position > through)
      mailbox.waiting.splice(0, mailbox.waiting.length, ...kept)
      return undefined
    },
    send: (request, body) => this.#server.accept(this.proved(), request, body),
    commit: (request, body) => this.#server.accept(this.proved(), request, body),
    'count-packages': () => ({ singleUse: 3, hasLastResort: true }),
    invite: () => ({ invite: decode(Invite, randomBytes(Invite.max)), notAfter: 1 }),
    open: ({ conversation }) => ({ conversation, generation: 1, isNew: true }),
    judge: () => undefined,
    requests: () => [],
  }

  #people({ after }: RequestOf<'people'>): ResponseOf<'people'> {
    const all = this.#server.people().filter(({ name }) => after === undefined || name > after)
    return { isDirectory: true, people: all.slice(0, 2), isLast: all.length <= 2 }
  }

  async #prove(proof: Proof): Promise<SessionOpened> {
    const { minor, certificate, host, nonce, device } = proof
    const list = this.#server.owner(device)
    const requestKey = list?.devices.find((each) => Buffer.from(each.device).equals(device))?.requestKey
    const parts = { minor, certificate, host, clientNonce: nonce, device }
    const transcript = encode(SessionTranscript, { hello: this.#hello, ...parts })
    const message = inContext(contexts.clientProof, transcript)
    if (
      list === undefined ||
      requestKey === undefined ||
      !(await verifySignature(requestKey, message, proof.signature))
    )
      throw new RefusedError('unproved', 'the proof does not hold')
    const { acknowledged } = this.#server.mailbox(device)
    this.device = device
    this.delivered = acknowledged
    return {
      signature: await this.#server.key.sign(inContext(contexts.serverProof, transcript, proof.signature)),
      account: list.account,
      isAdmin: false,
      listVersion: list.version,
      listHash: list.hash,
      sendNumber: this.#server.sendNumbers.get(toBase64url(device)) ?? 0,
      acknowledged,
      position: this.#server.position,
      at: 1,
      ...this.#server.opened,
    }
  }

  proved(): DeviceId {
    if (this.device === undefined) throw new RefusedError('unproved', 'prove yourself first')
    return this.device
  }
}

export function requested<N extends OperationName>(name: N, body: Uint8Array): RequestOf<N> {
  return decode(operations[name].request as Codec<RequestOf<N>>, body) // one row of the table
}

export function done<N extends OperationName>(name: N, response: ResponseOf<N>): Uint8Array {
  return encode(operations[name].response as Codec<ResponseOf<N>>, response) // one row of the table
}

/** A signature of nobody. */
export const noSignature = decode(Signature, new Uint8Array(Signature.max))
/** An entry of no list. */
export const noEntry = encode(ListEntry, { body: new Uint8Array(3), signature: noSignature })
