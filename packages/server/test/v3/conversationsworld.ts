import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { decode, encode, ProtocolError } from '@messageu/protocol'
import {
  type Accepted,
  type AccountId,
  type AccountName,
  answers,
  type Commit,
  type ContactRequest,
  type ConversationId,
  type Delivery,
  type DeviceId,
  events,
  type Hash,
  type Notice,
  operations,
  readFrames,
  type SendId,
} from '@messageu/protocol/v3'
import type { Archive, Step, Stepped, Told } from '../../src/archive.ts'
import { type ConversationsOptions, type OpenConversations, openConversations } from '../../src/v3/conversations.ts'
import type { Replies } from '../../src/v3/later.ts'
import { GivenNumbers } from '../../src/v3/numbers.ts'
import { OpenSessions } from '../../src/v3/open-sessions.ts'
import { acknowledge } from '../../src/v3/operations/acknowledge.ts'
import { commit } from '../../src/v3/operations/commit.ts'
import { conversations } from '../../src/v3/operations/conversations.ts'
import { create } from '../../src/v3/operations/create.ts'
import { credit } from '../../src/v3/operations/credit.ts'
import { explain } from '../../src/v3/operations/explain.ts'
import { leave } from '../../src/v3/operations/leave.ts'
import { open } from '../../src/v3/operations/open.ts'
import { readState } from '../../src/v3/operations/read-state.ts'
import { readTree } from '../../src/v3/operations/read-tree.ts'
import { recreate } from '../../src/v3/operations/recreate.ts'
import { send } from '../../src/v3/operations/send.ts'
import { stuck } from '../../src/v3/operations/stuck.ts'
import type {
  Account,
  Contacts,
  Device,
  Directory,
  RequestOf,
  ResponseOf,
  Services,
  Session,
  Standing,
} from '../../src/v3/services.ts'
import { type ArchiveWishes, startArchive } from '../storage/archiveworld.ts'

const handlers = {
  open,
  create,
  commit,
  recreate,
  'read-state': readState,
  'read-tree': readTree,
  leave,
  stuck,
  explain,
  conversations,
  credit,
  acknowledge,
}
export type Asked = keyof typeof handlers

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const bytes = (count: number): Uint8Array => Uint8Array.from(randomBytes(count))

export const newConversationId = (): ConversationId => bytes(32) as ConversationId
export const newSendId = (): SendId => bytes(16) as SendId
export const text = (string: string): Uint8Array => Uint8Array.from(Buffer.from(string))

/** What a device has heard: the sealed bytes as text, and where they stand. */
export interface Heard extends Omit<Delivery, 'sealed'> {
  readonly text: string
  readonly sealed: Uint8Array
}

/** A session in the test's hand: what comes is kept, and the network is as slow as the test wants. */
export class Line implements Session {
  readonly device: Device
  readonly heard: Heard[] = []
  readonly frames: Uint8Array[] = []
  readonly notices: Notice[] = []
  /** How often it was told that nothing waits any more. */
  caughtUp = 0
  isOpen = true
  backlog = 0
  /** Whether what is sent stays in the backlog. */
  isStuck = false
  /** Whether it leaves at the end of the turn, without a word. */
  isSlow = false
  #drained: () => void = () => {}

  constructor(device: Device) {
    this.device = device
  }

  send(frame: Uint8Array): void {
    this.frames.push(frame)
    if (this.isStuck || this.isSlow) this.backlog += frame.length
    if (this.isSlow)
      process.nextTick(() => {
        this.backlog = 0
      })
    for (const { code, body } of readFrames(frame)) {
      if (code !== events.deliver.code) throw new Error(`an event ${code}`)
      const delivery = decode(events.deliver.body, body)
      this.heard.push({ ...delivery, text: Buffer.from(delivery.sealed).toString() })
    }
  }

  notice(notice: Notice): void {
    if (notice.kind === 'caught-up') this.caughtUp += 1
    else this.notices.push(notice)
  }

  end(notice: Notice): void {
    this.notices.push(notice)
    this.isOpen = false
  }

  onDrain(listener: () => void): void {
    this.#drained = listener
  }

  /** The network takes everything. */
  drain(): void {
    this.backlog = 0
    this.isStuck = false
    this.#drained()
  }

  get texts(): string[] {
    return this.heard.filter(({ kind }) => kind === 'application').map(({ text }) => text)
  }
}

/** Hears the answers to sends of one session. */
class SendReplies implements Replies {
  readonly #waiting = new Map<number, PromiseWithResolvers<ResponseOf<'send'>>>()

  answerTo(request: number): Promise<ResponseOf<'send'>> {
    const waiting = Promise.withResolvers<ResponseOf<'send'>>()
    this.#waiting.set(request, waiting)
    return waiting.promise
  }

  done(requests: readonly number[], frames: Uint8Array): void {
    const read = readFrames(frames)
    assert.deepEqual(
      read.map(({ code, request }) => ({ code, request })),
      requests.map((request) => ({ code: answers.done, request })),
    )
    for (const { request, body } of read) this.#waiting.get(request)?.resolve(decode(operations.send.response, body))
  }

  failed(request: number, error: unknown): void {
    this.#waiting.get(request)?.reject(error)
  }
}

/** One device of somebody, and what it does. Its send numbers count by themselves. */
export class Phone {
  readonly device: Mutable<Device>
  readonly #world: ConversationsWorld
  number = 0
  #line: Line | undefined

  constructor(world: ConversationsWorld, device: Mutable<Device>) {
    this.#world = world
    this.device = device
  }

  get id(): DeviceId {
    return this.device.id
  }

  get account(): Mutable<Account> {
    return this.device.account
  }

  get line(): Line {
    if (this.#line === undefined) throw new Error('not connected')
    return this.#line
  }

  ask<N extends Asked | 'send'>(operation: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    if (operation === 'send')
      return this.askTogether([request as RequestOf<'send'>])[0] as Promise<unknown> as Promise<ResponseOf<N>>
    return this.#askOne(operation as Asked, request as never) as Promise<unknown> as Promise<ResponseOf<N>>
  }

  /** Sends that come in one go, and what each is answered. */
  askTogether(requests: readonly RequestOf<'send'>[]): Promise<ResponseOf<'send'>>[] {
    const replies = new SendReplies()
    const gathering = send(this.#world.services, this.#lineOrNone, replies)
    const answered = requests.map((_, i) => replies.answerTo(i + 1))
    for (const [i, request] of requests.entries()) gathering.take(encode(operations.send.request, request), i + 1)
    gathering.end()
    return answered
  }

  get #lineOrNone(): Line {
    return this.#line ?? new Line(this.device)
  }

  #askOne<N extends Asked>(operation: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    const handler = handlers[operation] as unknown as (
      services: Services,
      session: Session,
      request: RequestOf<N>,
    ) => Promise<ResponseOf<N>> | ResponseOf<N> // the handler of that name
    return (async () => handler(this.#world.services, this.#lineOrNone, request))()
  }

  /** A session, with credit for everything unless told otherwise. */
  async connect(credit: RequestOf<'credit'> = { messages: 10_000, bytes: 2 ** 24 }): Promise<Line> {
    this.disconnect()
    const line = new Line(this.device)
    this.#line = line
    this.#world.sessions.enter(line)
    await this.#world.open.deliveries.attach(line)
    if (credit.messages > 0) await this.ask('credit', credit)
    return line
  }

  disconnect(): void {
    const line = this.#line
    if (line === undefined) return
    line.isOpen = false
    this.#world.sessions.leave(line)
    this.#world.open.deliveries.detach(line)
    this.#line = undefined
  }

  say(
    conversation: ConversationId,
    what: string | Uint8Array,
    changes: Partial<RequestOf<'send'>> = {},
  ): Promise<Accepted> {
    return this.ask('send', this.message(conversation, what, changes))
  }

  /** A send as it would be asked, for tests that ask it themselves. */
  message(
    conversation: ConversationId,
    what: string | Uint8Array,
    changes: Partial<RequestOf<'send'>> = {},
  ): RequestOf<'send'> {
    const { generation, epoch } = this.#world.newest(conversation)
    const sealed = typeof what === 'string' ? text(what) : what
    const number = changes.number ?? ++this.number
    return { conversation, generation, id: newSendId(), epoch, sealed, ...changes, number }
  }

  commit(conversation: ConversationId, roster: readonly Phone[], changes: Partial<Commit> = {}): Promise<Accepted> {
    return this.ask('commit', this.proposal(conversation, roster, changes))
  }

  /** A commit as it would be asked, with a Welcome for each device that is new. */
  proposal(conversation: ConversationId, roster: readonly Phone[], changes: Partial<Commit> = {}): Commit {
    const { generation, epoch, roster: before } = this.#world.newest(conversation)
    const there = new Set(before.map(hex))
    const devices = roster.map(({ id }) => id).filter((id) => !there.has(hex(id)) && hex(id) !== hex(this.id))
    const number = changes.number ?? ++this.number
    return {
      conversation,
      generation,
      id: newSendId(),
      epoch,
      commit: text(`commit of ${hex(this.id)} in epoch ${epoch}`),
      roster: roster.map(({ id }) => id),
      welcomes: devices.length > 0 ? [{ devices, welcome: text(`welcome to epoch ${epoch + 1}`) }] : [],
      groupInfo: text(`group in epoch ${epoch + 1}`),
      tree: text(`tree of epoch ${epoch + 1} by ${hex(this.id)}`),
      ...changes,
      number,
    }
  }

  async acknowledge(through = this.line.heard.at(-1)?.position ?? 0): Promise<void> {
    await this.ask('acknowledge', { through })
  }
}

/** People of whom the test says who they are, what they have, and what they think of each other. */
export class ConversationsWorld implements AsyncDisposable {
  readonly #archives
  readonly #devices = new Map<string, Mutable<Device>>()
  readonly #accounts = new Map<string, Mutable<Account>>()
  readonly #standings = new Map<string, Standing>()
  readonly #options: Partial<ConversationsOptions>
  #onChange: Parameters<Directory['onChange']>[0] = () => {}
  #open: OpenConversations | undefined
  readonly requests: { from: Account; to: Account; request: ContactRequest }[] = []
  readonly charges: { from: Account; to: Account; bytes: number }[] = []
  /** Whether strangers may have no more. */
  isChargeRefused = false
  sessions = new OpenSessions()
  wallMs = 1_700_000_000_000
  /** By how much the wall clock goes on whenever somebody looks at it. */
  tickMs = 0
  runMs = 0
  /** Steps of the archive that are to fail, by what they hold. */
  failing: (step: Step) => boolean = () => false

  private constructor(archives: Awaited<ReturnType<typeof startArchive>>, options: Partial<ConversationsOptions>) {
    this.#archives = archives
    this.#options = options
  }

  static async start(
    kind: string,
    options: Partial<ConversationsOptions> = {},
    wishes: ArchiveWishes = {},
  ): Promise<ConversationsWorld> {
    let world: ConversationsWorld | undefined
    const archives = await startArchive(kind, { nowMs: () => world?.look() ?? 0, ...wishes })
    world = new ConversationsWorld(archives, options)
    await world.#begin()
    return world
  }

  get open(): OpenConversations {
    if (this.#open === undefined) throw new Error('closed')
    return this.#open
  }

  get archive(): Archive {
    return this.#archives.archive
  }

  get services(): Services {
    const { conversations, deliveries } = this.open
    return { conversations, deliveries } as unknown as Services // all that these operations use
  }

  /** Ends all sessions, and begins again with what is stored. */
  async restart(phones: Iterable<Phone> = []): Promise<void> {
    for (const phone of phones) phone.disconnect()
    this.open[Symbol.dispose]()
    await this.#archives.restart()
    this.sessions = new OpenSessions()
    await this.#begin()
  }

  /** Somebody with so many devices. */
  person(name: string, devices = 1): Phone[] {
    const number = this.#accounts.size + 1
    const account = { number, id: bytes(32) as AccountId, name: name as AccountName } as Mutable<Account>
    Object.assign(account, { isAdmin: false, isDisabled: false, quotaBytes: 2 ** 30, createdAt: 0, devices: [] })
    account.list = { version: 1, hash: bytes(32) as Hash, isClosed: false } as Account['list'] // all that is asked of it
    this.#accounts.set(hex(account.id), account)
    return Array.from({ length: devices }, () => this.addDevice(account))
  }

  addDevice(account: Mutable<Account>): Phone {
    const number = this.#devices.size + 1
    const certificate = {} as Device['certificate'] // nobody asks for it here
    const device: Mutable<Device> = { number, id: bytes(16) as DeviceId, account, certificate, isListed: true }
    account.devices = [...account.devices, device]
    this.#devices.set(hex(device.id), device)
    return new Phone(this, device)
  }

  delist({ device, account }: Phone): void {
    device.isListed = false
    account.devices = account.devices.filter((each) => each !== device)
    this.#onChange(account, [device])
  }

  /** What `to` thinks of `from`. Accepted until something else is said. */
  regards(to: Account, from: Account, standing: Standing): void {
    this.#standings.set(`${from.number}/${to.number}`, standing)
  }

  regardOf(to: Account, from: Account): Standing {
    return this.#standings.get(`${from.number}/${to.number}`) ?? 'accepted'
  }

  /** Where a conversation is, by what the server holds. */
  newest(conversation: ConversationId): { generation: number; epoch: number; roster: DeviceId[] } {
    const state = this.open.conversations.parts.shelf.peek(conversation)?.durable
    if (state === undefined) return { generation: 1, epoch: 0, roster: [] }
    return { generation: state.generation, epoch: state.epoch, roster: state.roster.map(({ device }) => device) }
  }

  /** A group of these devices, made by the first. */
  async group(first: Phone, ...others: Phone[]): Promise<ConversationId> {
    const conversation = newConversationId()
    await first.ask('create', { conversation })
    if (others.length > 0) await first.commit(conversation, [first, ...others])
    return conversation
  }

  /** Everything that was noted to be trimmed is. */
  async trim(): Promise<void> {
    await this.open.conversations.parts.trimming.sweep()
  }

  /** How many messages of a conversation are stored. */
  stored(conversation: ConversationId): number {
    const boxes = this.open.conversations.parts.shelf.peek(conversation)?.boxes
    if (boxes === undefined) throw new Error('not in memory')
    return this.archive.countOf(boxes.application) + this.archive.countOf(boxes.handshake)
  }

  look(): number {
    this.wallMs += this.tickMs
    return this.wallMs
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open?.[Symbol.dispose]()
    await this.#archives[Symbol.asyncDispose]()
  }

  async #begin(): Promise<void> {
    const archive = this.#failingArchive()
    this.#open = await openConversations({
      archive,
      directory: this.#directory,
      contacts: this.#contacts,
      numbers: await GivenNumbers.open(archive),
      sessions: {
        ofDevice: (number) => this.sessions.ofDevice(number),
        ofAccount: (account) => this.sessions.ofAccount(account),
        count: 0,
      },
      clock: { nowMs: () => this.look(), monotonicMs: () => this.runMs },
      schedule: () => () => {},
      ...this.#options,
    })
  }

  /** The archive, but for the steps that are to fail: those and what is built on them, as a real one does it. */
  #failingArchive(): Archive {
    const archive = this.archive
    let refusal: ProtocolError | undefined
    const refusalOf = (each: Step): ProtocolError | undefined => {
      if (refusal === undefined && !this.failing(each)) return undefined
      refusal ??= new ProtocolError('storage-full', 'as the test wants it')
      setImmediate(() => {
        refusal = undefined
      })
      return refusal
    }
    const take = (each: Step, told: Told): void => {
      const error = refusalOf(each)
      if (error === undefined) archive.take(each, told)
      else void Promise.resolve().then(() => told.refused(error))
    }
    const step = (each: Step): Promise<Stepped> => new Promise((durable, refused) => take(each, { durable, refused }))
    return new Proxy(archive, {
      get(target, name) {
        if (name === 'step') return step
        if (name === 'take') return take
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  get #directory(): Directory {
    return {
      account: async (id: AccountId) => this.#accounts.get(hex(id)),
      accountByNumber: async (number: number) => this.#accounts.values().find((each) => each.number === number),
      peekAccount: (number: number) => this.#accounts.values().find((each) => each.number === number),
      device: async (id: DeviceId) => this.#devices.get(hex(id)),
      deviceByNumber: async (number: number) => this.#devices.values().find((each) => each.number === number),
      onChange: (listener: Parameters<Directory['onChange']>[0]) => {
        this.#onChange = listener
      },
    } as Directory // what conversations ask of it
  }

  get #contacts(): Contacts {
    return {
      standing: async (from, to) => (from === to ? 'accepted' : this.regardOf(to, from)),
      peekStanding: (from, to) => (from === to ? 'accepted' : this.regardOf(to, from)),
      judge: async (of, other, verdict) => {
        if (verdict === 'accept') this.regards(of, other, 'accepted')
      },
      noteRequest: async (from, to, request) => void this.requests.push({ from, to, request }),
      requests: async () => [],
      chargeStranger: async (from, to, count) => {
        if (this.isChargeRefused) throw new ProtocolError('limited', 'no more from strangers')
        this.charges.push({ from, to, bytes: count })
      },
    }
  }
}

/** Everything that was begun has had time to happen, as far as nothing waits for a disk. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Waits until something holds; the runner ends a test that waits for ever. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1))
}

export const refusal = (reason: string): ((error: unknown) => boolean) => {
  return (error) => error instanceof ProtocolError && error.reason === reason
}
