import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  addDevice,
  certify,
  closeAccount,
  type DeviceSecrets,
  newDevice,
  newSeed,
  proveSession,
  removeDevice,
  type SigningKey,
  signingKey,
  verifyList,
} from '@messageu/e2ee'
import { type Codec, decode, encode, type Infer } from '@messageu/protocol'
import {
  type AccountId,
  accountIdOf,
  answers,
  ConversationId,
  contexts,
  Delivery,
  type DeviceId,
  errorOf,
  events,
  Hash,
  Hello,
  inContext,
  ListEntry,
  ListEntryBody,
  Nonce,
  Notice,
  type OperationName,
  operations,
  type Proof,
  parseLink,
  Refusal,
  RefusedError,
  SendId,
  writeFrame,
} from '@messageu/protocol/v3'
import { Wire, type WireOptions } from './wire.ts'

export type RequestOf<N extends OperationName> = Infer<(typeof operations)[N]['request']>
export type ResponseOf<N extends OperationName> = Infer<(typeof operations)[N]['response']>
type Sent = RequestOf<'send'>

export const random = (count: number): Uint8Array => new Uint8Array(randomBytes(count))
export const newConversation = (): ConversationId => decode(ConversationId, random(32))

/** The session ended before the answer came: whether it was done is not known. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** What makes a device, kept over sessions, servers' lives and connections. */
export interface Identity {
  readonly name: string
  readonly account: AccountId
  readonly secrets: DeviceSecrets
  /** As made from the words, which a device would not keep. */
  readonly accountKey: SigningKey
  readonly managerKey: SigningKey
  readonly entry: Uint8Array
  readonly ownDevices: ConversationId
}

/** Keys and first list entry of somebody who is not at the server yet. The name is what the server has to judge. */
export async function newIdentity(link: string, name: string): Promise<Identity> {
  const { serverKey } = parseLink(link)
  const [accountKey, managerKey] = await Promise.all([signingKey(newSeed(random)), signingKey(newSeed(random))])
  const account = accountIdOf(accountKey.publicKey, sha256)
  const secrets = newDevice(random)
  const device = await certify(secrets, { account, serverKey })
  const keys = { accountKey: accountKey.publicKey, managerKey: managerKey.publicKey }
  const body = encode(ListEntryBody, {
    account,
    version: 1,
    previous: decode(Hash, new Uint8Array(32)),
    signer: 'account',
    change: { kind: 'create', body: { name, serverKey, ...keys, device } },
  })
  const signature = await accountKey.sign(inContext(contexts.listEntry, body))
  const entry = encode(ListEntry, { body, signature })
  return { name, account, secrets, accountKey, managerKey, entry, ownDevices: newConversation() }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest())
}

/**
 * A device at the level of the wire: it keeps what it knows in memory, does nothing by itself, and can say anything.
 * What it sends opaque is what MLS would have sealed.
 */
export class Peer implements Disposable {
  readonly identity: Identity
  readonly deliveries: Delivery[] = []
  readonly notices: Notice[] = []
  readonly #asked = new Map<number, { code: number; settle: PromiseWithResolvers<Uint8Array> }>()
  #wire: Wire | undefined
  #hello = Promise.withResolvers<Hello>()
  #request = 0
  #news = Promise.withResolvers<void>()
  /** The number of the next send. */
  number = 1
  port: number

  constructor(identity: Identity, port: number) {
    this.identity = identity
    this.port = port
  }

  static async register(link: string, name: string): Promise<Peer> {
    const peer = new Peer(await newIdentity(link, name), parseLink(link).port)
    await peer.connect()
    await peer.ask('register', peer.registration)
    await peer.prove()
    return peer
  }

  get registration(): RequestOf<'register'> {
    const { entry, ownDevices } = this.identity
    return { entry, ownDevices, invite: undefined }
  }

  get device(): DeviceId {
    return this.identity.secrets.device
  }

  get account(): AccountId {
    return this.identity.account
  }

  get wire(): Wire {
    assert(this.#wire !== undefined, 'this peer has connected')
    return this.#wire
  }

  /** A new connection, that has heard hello and proved nothing. */
  async connect(options: Partial<WireOptions> = {}): Promise<Hello> {
    this.#hello = Promise.withResolvers()
    const wire = await Wire.open({ port: this.port, ...options })
    this.#wire = wire
    void wire.closed.then(() => this.#gone(wire))
    wire.onFrame((frame) => this.#take(frame))
    for (const frame of wire.frames) this.#take(frame)
    return Promise.race([this.#hello.promise, wire.closed.then(() => Promise.reject(new NoAnswer('no hello')))])
  }

  async reconnect(options: Partial<WireOptions> = {}): Promise<ResponseOf<'prove'>> {
    await this.connect(options)
    return this.prove()
  }

  async proof(changes: Partial<Parameters<typeof proveSession>[0]> = {}): Promise<Proof> {
    const hello = await this.#hello.promise
    const { device, requestSeed } = this.identity.secrets
    return proveSession({
      hello,
      serverKey: hello.serverKey,
      requestKey: await signingKey(requestSeed),
      device,
      host: `127.0.0.1:${this.port}`,
      certificate: undefined,
      nonce: decode(Nonce, random(32)),
      ...changes,
    })
  }

  async prove(): Promise<ResponseOf<'prove'>> {
    const opened = await this.ask('prove', await this.proof())
    this.number = opened.sendNumber + 1
    return opened
  }

  /** A request as a frame of its own, and its number. */
  frame<N extends OperationName>(name: N, request: RequestOf<N>): { number: number; bytes: Uint8Array } {
    const { code } = operations[name]
    const number = ++this.#request
    return { number, bytes: writeFrame({ code, request: number, body: bodyOf(name, request) }) }
  }

  /** Asks and waits for the answer. Rejects with `RefusedError` or `NoAnswer`. */
  async ask<N extends OperationName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    const { number, bytes } = this.frame(name, request)
    const answer = this.answerTo(number, operations[name].code)
    this.wire.send(bytes)
    // the table's codec for this very name
    return decode(operations[name].response as Codec<ResponseOf<N>>, await answer)
  }

  /** What comes as the answer to a request that was, or will be, sent. */
  answerTo(number: number, code = 0): Promise<Uint8Array> {
    const settle = Promise.withResolvers<Uint8Array>()
    settle.promise.catch(() => {}) // it may fail before anybody looks
    if (!this.wire.isOpen) settle.reject(new NoAnswer('the connection is gone'))
    this.#asked.set(number, { code, settle })
    return settle.promise
  }

  /** The reason of a refusal, or `done`. */
  async outcomeOf<N extends OperationName>(name: N, request: RequestOf<N>): Promise<string> {
    return reasonOf(this.ask(name, request))
  }

  newSend(conversation: ConversationId, sealed: Uint8Array, epoch = 1): Sent {
    return { conversation, generation: 1, id: decode(SendId, random(16)), number: this.number++, epoch, sealed }
  }

  send(conversation: ConversationId, sealed: Uint8Array, epoch = 1): Promise<ResponseOf<'send'>> {
    return this.ask('send', this.newSend(conversation, sealed, epoch))
  }

  newCommit(
    conversation: ConversationId,
    epoch: number,
    roster: readonly DeviceId[],
    commit: Uint8Array = random(40),
  ): RequestOf<'commit'> {
    return {
      conversation,
      generation: 1,
      id: decode(SendId, random(16)),
      number: this.number++,
      epoch,
      commit,
      roster,
      welcomes: [],
      groupInfo: random(40),
      tree: random(40),
    }
  }

  /** A group of these devices, who accept each other. At epoch 1. */
  async groupWith(...others: readonly Peer[]): Promise<ConversationId> {
    for (const one of [this, ...others])
      for (const other of [this, ...others])
        if (one.account !== other.account) await one.ask('judge', { account: other.account, verdict: 'accept' })
    const { conversation } = await this.ask('create', { conversation: newConversation() })
    const roster = [this, ...others].map(({ device }) => device)
    await this.ask('commit', this.newCommit(conversation, 0, roster))
    return conversation
  }

  /** Adds a second device to the account's list; it has not connected. */
  async sibling(): Promise<Peer> {
    const { account, entry, managerKey } = this.identity
    const secrets = newDevice(random)
    const { serverKey } = await this.#hello.promise
    const certificate = await certify(secrets, { account, serverKey })
    const added = await addDevice(await this.#list(), managerKey, certificate)
    await this.ask('append', { account, entry: added })
    return new Peer({ ...this.identity, secrets, entry }, this.port)
  }

  /** Ends the account, by its words. */
  async close(): Promise<void> {
    const entry = await closeAccount(await this.#list(), this.identity.accountKey)
    await this.ask('recover', { account: this.account, entry })
  }

  async takeOff(device: DeviceId): Promise<void> {
    const entry = await removeDevice(await this.#list(), this.identity.managerKey, device)
    await this.ask('append', { account: this.account, entry })
  }

  async credit(): Promise<void> {
    await this.ask('credit', { messages: 10_000, bytes: 16 * 2 ** 20 })
  }

  /** Resolves as soon as `done` says so; rejects with `NoAnswer` if the connection ends before. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      if (this.wire.socket.destroyed) throw new NoAnswer('the connection is gone')
      await this.#news.promise
    }
  }

  /** The application messages of one conversation that came, as they were sealed. */
  heard(conversation: ConversationId): Uint8Array[] {
    return this.deliveries
      .filter(({ kind, conversation: of }) => kind === 'application' && Buffer.compare(of, conversation) === 0)
      .map(({ sealed }) => sealed)
  }

  /** Breaks off, without a word. */
  cut(): void {
    this.#wire?.socket.resetAndDestroy()
  }

  [Symbol.dispose](): void {
    this.#wire?.socket.destroy()
  }

  async #list() {
    const { entries } = await this.ask('read-list', { account: this.account, after: 0 })
    return verifyList(entries)
  }

  #take({ code, request, body }: { code: number; request: number; body: Uint8Array }): void {
    if (code === events.hello.code) this.#hello.resolve(decode(Hello, body))
    else if (code === events.deliver.code) this.deliveries.push(decode(Delivery, body))
    else if (code === events.notice.code) this.notices.push(decode(Notice, body))
    else this.#answered(code, request, body)
    this.#tell()
  }

  #answered(code: number, request: number, body: Uint8Array): void {
    const asked = this.#asked.get(request)
    assert(asked !== undefined, `an answer to request ${request}, which has none due`)
    this.#asked.delete(request)
    if (code === answers.done) asked.settle.resolve(body)
    else asked.settle.reject(errorOf(decode(Refusal, body)))
  }

  #gone(wire: Wire): void {
    if (wire !== this.#wire) return
    for (const { settle } of this.#asked.values()) settle.reject(new NoAnswer('the connection ended'))
    this.#asked.clear()
    this.#tell()
  }

  #tell(): void {
    this.#news.resolve()
    this.#news = Promise.withResolvers()
  }
}

function bodyOf<N extends OperationName>(name: N, request: RequestOf<N>): Uint8Array {
  return encode(operations[name].request as Codec<RequestOf<N>>, request) // the table's codec for this very name
}

/** The reason of a refusal, `done`, or `no answer`. Other errors pass. */
export async function reasonOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer
    return 'done'
  } catch (error) {
    if (error instanceof RefusedError) return error.reason
    if (error instanceof NoAnswer) return 'no answer'
    throw error
  }
}
