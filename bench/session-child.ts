/** Many devices of version 3, each with its session: sends with a window, delivers, waits. Opaque bytes instead of MLS. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto'
import { type Codec, decode, encode } from '@messageu/protocol'
import {
  type AccountId,
  accountIdOf,
  answers,
  type ConversationId,
  contexts,
  DeviceBinding,
  type DeviceCertificate,
  type DeviceId,
  errorOf,
  events,
  frameHeadBytes,
  type Hash,
  Hello,
  inContext,
  ListEntry,
  ListEntryBody,
  type Nonce,
  type OperationName,
  operations,
  type PublicKey,
  Refusal,
  type SendId,
  SessionTranscript,
  type Signature,
  writeFrame,
} from '@messageu/protocol/v3'
import { serveTasks } from './children.ts'
import { percentile } from './measure.ts'
import { newMessage, Wire } from './wire.ts'

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest()
const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex')

interface Key {
  readonly secret: KeyObject
  readonly publicKey: PublicKey
}

function newKey(): Key {
  const secret = createPrivateKey({
    key: Buffer.concat([pkcs8, randomBytes(32)]),
    format: 'der',
    type: 'pkcs8',
  })
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' })
  return { secret, publicKey: new Uint8Array(spki.subarray(-32)) as PublicKey }
}

const signed = ({ secret }: Key, message: Uint8Array): Signature =>
  new Uint8Array(sign(null, message, secret)) as Signature
const random = <T extends Uint8Array>(count: number): T => new Uint8Array(randomBytes(count)) as T

/** One device with its session. */
class Peer {
  readonly account: AccountId
  readonly device: DeviceId
  readonly #requestKey: Key
  readonly #entry: Uint8Array
  readonly port: number
  #wire: Wire | undefined
  #request = 0
  #number = 0
  readonly #asked = new Map<number, (body: Uint8Array, refused: boolean) => void>()
  /** What is called for every delivery, with its position. */
  onDelivery: ((position: number) => void) | undefined
  /** Sends under way: what to do when they are answered. */
  onAnswer: ((request: number, code: number) => void) | undefined
  #hello: Promise<Uint8Array> | undefined

  constructor(port: number, name: string, serverKey: PublicKey) {
    this.port = port
    const accountKey = newKey()
    this.#requestKey = newKey()
    this.account = accountIdOf(accountKey.publicKey, sha256)
    const device = this.#certificate(serverKey)
    this.device = device.device
    const body = encode(ListEntryBody, {
      account: this.account,
      version: 1,
      previous: new Uint8Array(32) as Hash,
      signer: 'account',
      change: {
        kind: 'create',
        body: { name, serverKey, accountKey: accountKey.publicKey, managerKey: newKey().publicKey, device },
      },
    })
    this.#entry = encode(ListEntry, { body, signature: signed(accountKey, inContext(contexts.listEntry, body)) })
  }

  #certificate(serverKey: PublicKey): DeviceCertificate {
    const signatureKey = newKey()
    const requestKey = this.#requestKey
    const keys = { signatureKey: signatureKey.publicKey, requestKey: requestKey.publicKey }
    const device = random<DeviceId>(16)
    const binding = inContext(
      contexts.device,
      encode(DeviceBinding, { account: this.account, serverKey, device, ...keys }),
    )
    return {
      device,
      ...keys,
      bySignatureKey: signed(signatureKey, binding),
      byRequestKey: signed(requestKey, binding),
    }
  }

  async register(): Promise<void> {
    await this.#open()
    await this.ask('register', { entry: this.#entry, invite: undefined, ownDevices: random<ConversationId>(32) })
    await this.#prove()
  }

  async reconnect(): Promise<void> {
    await this.#open()
    await this.#prove()
  }

  async #open(): Promise<void> {
    const hello = Promise.withResolvers<Uint8Array>()
    this.#hello = hello.promise
    this.#wire = await Wire.open({ port: this.port, isTls }, (code, request, bytes, from, to) => {
      if (code === events.deliver.code) this.onDelivery?.(positionAt(bytes, from))
      else if (code === events.hello.code) hello.resolve(new Uint8Array(bytes.subarray(from, to)))
      else if (code === answers.done || code === answers.refused) this.#answered(code, request, bytes, from, to)
    })
  }

  #answered(code: number, request: number, bytes: Buffer, from: number, to: number): void {
    const asked = this.#asked.get(request)
    if (asked === undefined) {
      this.onAnswer?.(request, code)
      return
    }
    this.#asked.delete(request)
    asked(new Uint8Array(bytes.subarray(from, to)), code === answers.refused)
  }

  async #prove(): Promise<void> {
    const hello = decode(Hello, await (this.#hello as Promise<Uint8Array>))
    const nonce = random<Nonce>(32)
    const { device } = this
    const host = `127.0.0.1:${this.port}`
    const certificate = this.#wire?.certificate as Hash | undefined // a SHA-256
    const transcript = encode(SessionTranscript, {
      hello,
      minor: hello.minorMax,
      certificate,
      host,
      clientNonce: nonce,
      device,
    })
    const signature = signed(this.#requestKey, inContext(contexts.clientProof, transcript))
    const opened = await this.ask('prove', {
      minor: hello.minorMax,
      certificate,
      host,
      nonce,
      device,
      signature,
    })
    this.#number = opened.sendNumber
  }

  /** Asks and waits for the answer. */
  ask<N extends OperationName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    const operation = operations[name]
    const body = encode(operation.request as Codec<RequestOf<N>>, request)
    const number = ++this.#request
    return new Promise((resolve, reject) => {
      this.#asked.set(number, (answer, refused) => {
        if (refused) reject(errorOf(decode(Refusal, answer)))
        else resolve(decode(operation.response as Codec<ResponseOf<N>>, answer))
      })
      this.#wire?.send([writeFrame({ code: operation.code, request: number, body })])
    })
  }

  commit(conversation: ConversationId, epoch: number, roster: readonly DeviceId[]): Promise<unknown> {
    return this.ask('commit', {
      conversation,
      generation: 1,
      id: random<SendId>(16),
      number: ++this.#number,
      epoch,
      commit: new Uint8Array(100),
      roster,
      welcomes: [],
      groupInfo: new Uint8Array(100),
      tree: new Uint8Array(100),
    })
  }

  /** A message of so many sends, each with its own request, number and id; the first request's number. */
  postSends(template: SendTemplate, count: number): number {
    const first = this.#request + 1
    const wire = this.#wire
    wire?.write(template.message(count, first, this.#number + 1, wire.isAllTaken))
    this.#request += count
    this.#number += count
    return first
  }

  /** Grants and acknowledges without waiting for the answers. */
  tell<N extends OperationName>(name: N, request: RequestOf<N>): void {
    const operation = operations[name]
    const body = encode(operation.request as Codec<RequestOf<N>>, request)
    this.#wire?.send([writeFrame({ code: operation.code, request: ++this.#request, body })])
  }

  get isOpen(): boolean {
    return this.#wire?.isOpen === true
  }

  stopReading(): void {
    this.#wire?.stopReading()
  }

  close(): void {
    this.#wire?.close()
  }
}

/** Sends of the same bytes into one conversation, made beforehand: what differs is written over. */
class SendTemplate {
  readonly #frame: Buffer
  /** Messages that were written, by the number of their sends. */
  readonly #written = new Map<number, { readonly bytes: Buffer; readonly from: number }>()

  constructor({ conversation, epoch }: Room, sealed: Uint8Array) {
    const id = random<SendId>(16)
    const body = encode(operations.send.request, { conversation, generation: 1, id, number: 1, epoch, sealed })
    this.#frame = Buffer.from(writeFrame({ code: operations.send.code, request: 1, body }))
  }

  /**
   * One WebSocket message. The ids differ from each other by the number of the send, and from other templates' by chance.
   * Once the system has taken all that was written, its buffers are written again.
   */
  message(count: number, request: number, number: number, isAllTaken: boolean): Buffer {
    const { length } = this.#frame
    const written = isAllTaken ? this.#written.get(count) : undefined
    const { bytes, from } = written ?? this.#newMessage(count)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let i = 0; i < count; i++) {
      const at = from + i * length
      view.setUint32(at + fieldsAt.request, request + i, true)
      view.setUint32(at + fieldsAt.id, number + i, true)
      view.setUint32(at + fieldsAt.number, number + i, true)
    }
    return bytes
  }

  #newMessage(count: number): { readonly bytes: Buffer; readonly from: number } {
    const message = newMessage(count * this.#frame.length)
    for (let i = 0; i < count; i++) message.bytes.set(this.#frame, message.from + i * this.#frame.length)
    this.#written.set(count, message)
    return message
  }
}

/** Where a send has what differs from one to the next. Protocol 3 §2.1 and §6.6. */
const fieldsAt = { request: 5, id: frameHeadBytes + 36, number: frameHeadBytes + 52 }

type RequestOf<N extends OperationName> = (typeof operations)[N]['request'] extends Codec<infer T> ? T : never
type ResponseOf<N extends OperationName> = (typeof operations)[N]['response'] extends Codec<infer T> ? T : never

function positionAt(bytes: Buffer, from: number): number {
  return bytes.readUInt32LE(from + 4) * 2 ** 32 + bytes.readUInt32LE(from)
}

/** A conversation with one sender and its readers. */
interface Room {
  readonly sender: Peer
  readonly readers: readonly Peer[]
  readonly conversation: ConversationId
  epoch: number
}

let port = 0
let isTls = false
let serverKey: PublicKey
let names = 0
const rooms = new Map<string, Room[]>()
const idle: Peer[] = []

async function newPeer(): Promise<Peer> {
  const peer = new Peer(port, `bench${String(++names).padStart(7, '0')}x${process.pid}`, serverKey)
  await peer.register()
  return peer
}

async function newRoom(readers: number): Promise<Room> {
  const sender = await newPeer()
  const others: Peer[] = []
  for (let i = 0; i < readers; i++) {
    const reader = await newPeer()
    await reader.ask('judge', { account: sender.account, verdict: 'accept' }) // or only the first 64 messages arrive
    others.push(reader)
  }
  const conversation = random<ConversationId>(32)
  await sender.ask('create', { conversation })
  let epoch = 0
  const roster = [sender.device]
  while (roster.length <= readers) {
    roster.push(...others.slice(roster.length - 1, roster.length + 49).map(({ device }) => device))
    await sender.commit(conversation, epoch++, roster)
  }
  return { sender, readers: others, conversation, epoch }
}

function roomsOf(name: string): Room[] {
  const found = rooms.get(name)
  if (found === undefined) throw new Error(`no rooms ${name}`)
  return found
}

interface Run {
  readonly rooms: string
  /** Sends under way in each room. */
  readonly window: number
  readonly bytes: number
  readonly ms: number
}

export const tasks = {
  at(server: { port: number; serverKey: string; isTls: boolean }): void {
    port = server.port
    isTls = server.isTls
    serverKey = new Uint8Array(Buffer.from(server.serverKey, 'base64')) as PublicKey
  },

  /** So many conversations, each with a sender and so many readers, who go offline unless `online`. */
  async prepare(shape: { name: string; rooms: number; readers: number; online: boolean }): Promise<void> {
    const made: Room[] = []
    for (let i = 0; i < shape.rooms; i++) made.push(await newRoom(shape.readers))
    for (const reader of made.flatMap(({ readers }) => readers)) if (!shape.online) reader.close()
    rooms.set(shape.name, made)
  },

  /** Sends for so long; rate per second of accepted messages. */
  async send({ rooms: name, window, bytes, ms }: Run): Promise<{ rate: number; count: number }> {
    const sealed = Buffer.alloc(bytes, 7)
    const start = performance.now()
    let accepted = 0
    let isOver = false
    setTimeout(() => {
      isOver = true
    }, ms)
    const lanes = roomsOf(name).map((room) => {
      const { sender } = room
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const template = new SendTemplate(room, sealed)
      let underWay = 0
      let isPosting = false
      const post = (): void => {
        isPosting = false
        if (isOver) {
          if (underWay === 0) resolve()
          return
        }
        sender.postSends(template, window - underWay)
        underWay = window
      }
      sender.onAnswer = (_, code) => {
        if (code !== answers.done) reject(new Error('a send was refused'))
        accepted += 1
        underWay -= 1
        if (isPosting) return
        isPosting = true
        queueMicrotask(post) // everything that one read brought is answered by one message
      }
      post()
      return promise
    })
    await Promise.all(lanes)
    return { rate: (accepted / (performance.now() - start)) * 1000, count: accepted }
  },

  /** Every reader takes and acknowledges what comes. Returns nothing; `delivered` tells. */
  read(name: string): void {
    for (const { readers } of roomsOf(name))
      for (const reader of readers) {
        let highest = 0
        let since = 0
        let isTelling = false
        reader.onDelivery = (position) => {
          highest = Math.max(highest, position)
          since += 1
          delivered += 1
          lastDelivery = performance.now()
          if (isTelling) return
          isTelling = true
          setImmediate(() => {
            isTelling = false
            reader.tell('acknowledge', { through: highest })
            reader.tell('credit', { messages: since, bytes: since * 512 })
            since = 0
          })
        }
        reader.tell('credit', { messages: 5000, bytes: 8 * 2 ** 20 })
      }
  },

  /** Deliveries since the last call. */
  delivered(): number {
    const count = delivered
    delivered = 0
    return count
  },

  /** One message at a time in one room: from send to the answer, and from send to the delivery, p50 in milliseconds. */
  async pingPong({
    rooms: name,
    count,
    bytes,
  }: {
    rooms: string
    count: number
    bytes: number
  }): Promise<{ ack: number; delivery: number }> {
    const [room] = roomsOf(name)
    if (room === undefined) throw new Error('no room')
    const { sender } = room
    const template = new SendTemplate(room, Buffer.alloc(bytes, 7))
    const acks: number[] = []
    const deliveries: number[] = []
    for (let i = 0; i < count; i++) {
      const answered = Promise.withResolvers<void>()
      const before = delivered
      const start = performance.now()
      sender.onAnswer = () => {
        acks.push(performance.now() - start)
        answered.resolve()
      }
      sender.postSends(template, 1)
      await answered.promise
      while (delivered === before) await new Promise((resolve) => setImmediate(resolve))
      deliveries.push(lastDelivery - start)
    }
    return { ack: percentile(acks, 0.5), delivery: percentile(deliveries, 0.5) }
  },

  /** Puts so many messages into each room. */
  async fill({ rooms: name, count, bytes }: { rooms: string; count: number; bytes: number }): Promise<void> {
    for (const room of roomsOf(name)) await sendAll(room, Buffer.alloc(bytes, 7), count)
  },

  async wake(name: string): Promise<void> {
    for (const { readers } of roomsOf(name)) for (const reader of readers) await reader.reconnect()
  },

  sleep(name: string): void {
    for (const { readers } of roomsOf(name)) for (const reader of readers) reader.close()
  },

  /** Sends so many messages into the room while its reader takes as many from the front, and acknowledges them. */
  async exchange({
    rooms: name,
    count,
    bytes,
  }: {
    rooms: string
    count: number
    bytes: number
  }): Promise<{ count: number }> {
    const [room] = roomsOf(name)
    const reader = room?.readers[0]
    if (room === undefined || reader === undefined) throw new Error('no room with a reader')
    const taken = Promise.withResolvers<number>()
    let left = count
    reader.onDelivery = (position) => {
      left -= 1
      if (left === 0) taken.resolve(position)
    }
    reader.tell('credit', { messages: count, bytes: 2 ** 24 })
    await sendAll(room, Buffer.alloc(bytes, 7), count)
    await reader.ask('acknowledge', { through: await taken.promise })
    return { count }
  },

  /** So many accounts with a device each, whose sessions are closed again. */
  async makeIdle(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const peer = await newPeer()
      peer.close()
      idle.push(peer)
    }
  },

  /** The first so many of them have an open session from now on. */
  async idleBack(count: number): Promise<void> {
    for (const peer of idle.slice(0, count)) if (!peer.isOpen) await peer.reconnect()
  },

  /** How many of the idle sessions are still open. */
  openIdle(): number {
    return idle.filter(({ isOpen }) => isOpen).length
  },

  /** Everybody in these rooms stops to read, but asks for as much as there is. */
  stall(name: string): void {
    for (const { readers } of roomsOf(name))
      for (const reader of readers) {
        reader.tell('credit', { messages: 10_000, bytes: 16 * 2 ** 20 })
        reader.stopReading()
      }
  },
}

/** Sends so many messages with a window of 32; resolves when all are accepted. */
function sendAll(room: Room, sealed: Uint8Array, count: number): Promise<void> {
  const { sender } = room
  const template = new SendTemplate(room, sealed)
  return new Promise((resolve, reject) => {
    let started = 0
    let answered = 0
    const post = (wanted: number): void => {
      const sends = Math.min(wanted, count - started)
      started += sends
      if (sends > 0) sender.postSends(template, sends)
    }
    sender.onAnswer = (_, code) => {
      if (code !== answers.done) reject(new Error('a send was refused'))
      answered += 1
      if (answered === count) resolve()
      else post(1)
    }
    post(32)
  })
}

let delivered = 0
let lastDelivery = 0

serveTasks(tasks)
