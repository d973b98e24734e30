import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import type { Client, IncomingContent, Room, Storage } from '../../src/storage.ts'
import type { V2Limits } from '../../src/v2/limits.ts'
import type { V2World } from '../world.ts'

/**
 * The other end of the wire, written from the description of the format and not from our own codec: it can say what no
 * good client says, and notes exactly what it got.
 */

export const refusal = '02282300000000'
export const codes = { register: 100, list: 101, key: 102, send: 103, fetch: 104 } as const
export const noId = new Uint8Array(16)
const noKey = new Uint8Array(160)

export function header(client: Uint8Array, code: number, payloadBytes: number, version = 2): Buffer {
  const bytes = Buffer.alloc(22)
  bytes.set(client)
  bytes.writeUInt8(version, 16)
  bytes.writeUInt8(code, 17)
  bytes.writeUInt32LE(payloadBytes, 18)
  return bytes
}

/** A name as it stands in its field; `field` may be anything of 255 bytes. */
export function registerRequest(name: string | Uint8Array, key: Uint8Array = noKey, id: Uint8Array = noId): Buffer {
  const field = Buffer.alloc(255)
  field.set(Buffer.from(name))
  return Buffer.concat([header(id, codes.register, 415), field, key])
}

export const listRequest = ({ login }: Client): Buffer => header(login, codes.list, 0)
export const fetchRequest = ({ login }: Client): Buffer => header(login, codes.fetch, 0)
export const keyRequest = (asker: Uint8Array, target: Uint8Array): Buffer =>
  Buffer.concat([header(asker, codes.key, 16), target])

export interface Sending {
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly type?: number
  readonly content?: Uint8Array
  /** What is announced, where it is not the truth. */
  readonly contentBytes?: number
  readonly payloadBytes?: number
}

export function sendRequest({ from, to, type = 3, content = new Uint8Array(0), ...announced }: Sending): Buffer {
  const { contentBytes = content.length, payloadBytes = 21 + contentBytes } = announced
  const head = Buffer.alloc(21)
  head.set(to)
  head.writeUInt8(type, 16)
  head.writeUInt32LE(contentBytes, 17)
  return Buffer.concat([header(from, codes.send, payloadBytes), head, content])
}

export interface Received {
  readonly sender: string
  readonly id: number
  readonly type: number
  readonly content: Buffer
}

/** The messages in the answer to a fetch, which has to be whole. */
export function messagesIn(answer: Buffer): Received[] {
  assert.equal(answer.subarray(0, 3).toString('hex'), '02ec03')
  assert.equal(answer.readUInt32LE(3), answer.length - 7, 'the payload is as long as announced')
  const messages: Received[] = []
  for (let at = 7; at < answer.length; ) {
    const contentBytes = answer.readUInt32LE(at + 21)
    messages.push({
      sender: answer.toString('hex', at, at + 16),
      id: answer.readUInt32LE(at + 16),
      type: answer.readUInt8(at + 20),
      content: answer.subarray(at + 25, at + 25 + contentBytes),
    })
    at += 25 + contentBytes
  }
  return messages
}

/** One connection. Reads all that comes unless it is told not to. */
export class Peer implements Disposable {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  #got = 0
  #failure: Error | undefined
  #ended = false
  readonly #closed: Promise<void>
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => {
      this.#chunks.push(chunk)
      this.#got += chunk.length
      this.#wake()
    })
    socket.on('end', () => {
      this.#ended = true
      this.#wake()
    })
    socket.on('error', (error) => {
      this.#failure = error
    })
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        resolve()
        this.#wake()
      })
    })
  }

  static dial(port: number, { localAddress = '127.0.0.1' } = {}): Promise<Peer> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true }, () => {
        socket.off('error', reject)
        resolve(new Peer(socket))
      })
      socket.once('error', reject)
    })
  }

  get got(): number {
    return this.#got
  }

  /** Whether the other side has ended its side. */
  get ended(): boolean {
    return this.#ended
  }

  get answer(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes)
  }

  /** Resolves when so many bytes are here, or the connection has ended before that. */
  async until(bytes: number): Promise<void> {
    while (this.#got < bytes && !this.#ended && !this.socket.closed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
  }

  /** Waits for the server's end, closes, and tells whether the connection came to a good end on both sides. */
  async finish(): Promise<{ answer: Buffer; clean: boolean }> {
    await this.until(Number.POSITIVE_INFINITY)
    this.socket.end()
    await this.#closed
    return { answer: this.answer, clean: this.#ended && this.#failure === undefined }
  }

  /** Resolves when the connection is gone, however that came about. */
  closed(): Promise<void> {
    return this.#closed
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}

/** Sends, reads to the end, closes. */
export async function exchange(
  port: number,
  request: Uint8Array,
  { halfClose = false } = {},
): Promise<{ answer: Buffer; clean: boolean }> {
  using peer = await Peer.dial(port)
  peer.write(request)
  if (halfClose) peer.socket.end()
  return await peer.finish()
}

/** A whole fetch by a client that reads everything and closes. */
export async function fetchAll({ port }: { port: number }, client: Client): Promise<Received[]> {
  const { answer, clean } = await exchange(port, fetchRequest(client))
  assert.equal(clean, true)
  return messagesIn(answer)
}

function reserved(storage: Storage, recipient: Client, bytes: number): Room {
  const outcome = storage.reserve(recipient, bytes)
  if (outcome.kind !== 'reserved') throw new Error(outcome.kind)
  return outcome.room
}

/** Puts a message into a mailbox without a network. */
export async function stored(storage: Storage, sender: Client, recipient: Client, content: Uint8Array): Promise<void> {
  using room = reserved(storage, recipient, content.length)
  if (content.length <= 65_536) {
    await storage.accept({ sender, room, type: 'text', content })
    return
  }
  await using incoming: IncomingContent = await storage.receive(content.length)
  for (let at = 0; at < content.length; at += 2 ** 20)
    if (!incoming.write(content.subarray(at, at + 2 ** 20))) await incoming.room()
  await storage.accept({ sender, room, type: 'text', content: await incoming.finish() })
}

export function waitingFor({ storage }: { storage: Storage }, client: Client): number {
  return storage.waiting(client, 2 ** 32 - 1).positions.length
}

/** Bytes that differ from one place and one seed to another. */
export function patterned(bytes: number, seed = 1): Buffer {
  const content = Buffer.alloc(bytes)
  let state = seed * 2_654_435_761 + 1
  for (let at = 0; at < bytes; at++) {
    state = (state * 1_664_525 + 1_013_904_223) >>> 0
    content[at] = state >>> 24
  }
  return content
}

/**
 * Patience short enough for a test with a `HandClock`, and deadlines noticed within a few milliseconds. Without the silence
 * of a write, which no such clock measures: the system does.
 */
export const short = {
  headMs: 150,
  contentMs: 150,
  silenceMs: 150,
  goodbyeMs: 150,
  drainSilenceMs: 150,
  drainMs: 400,
  closeMs: 150,
  turnMs: 150,
  holdMs: 60,
  settleMs: 20,
} as const satisfies Partial<V2Limits>

/** Nothing is told early, but that what is due is noticed soon. */
export const watchful = { settleMs: 20 } as const satisfies Partial<V2Limits>

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Resolves when `holds`; fails the test when that takes too long. */
export async function eventually(what: string, holds: () => boolean, withinMs = 30_000): Promise<void> {
  const until = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > until) assert.fail(`in ${withinMs} ms it did not become true that ${what}`)
    await sleep(5)
  }
}

export function quiet({ listener }: V2World, withinMs?: number): Promise<void> {
  return eventually('every connection is closed', () => listener.connections === 0, withinMs)
}

/** The reasons of all refusals that were logged so far. */
export function reasonsOf({ log }: V2World): string[] {
  return log.flatMap((entry) => ('reason' in entry ? [String(entry.reason)] : []))
}

/** `storage` with some of its promises kept in another way. */
export function wrapped(storage: Storage, changes: Partial<Storage>): Storage {
  return new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(name in changes ? changes : target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** A peer that breaks off after `cut` bytes of the answer, without a look at the rest. */
export async function breakOff(
  { port }: { port: number },
  client: Client,
  { cut, how }: { cut: number; how: 'close' | 'reset' },
): Promise<{ got: number }> {
  using peer = await Peer.dial(port)
  peer.write(fetchRequest(client))
  if (cut > 0) await peer.until(cut)
  else await new Promise<void>((resolve) => peer.socket.write('', () => resolve()))
  const { got } = peer
  if (how === 'reset') peer.socket.resetAndDestroy()
  else peer.socket.destroy()
  await peer.closed()
  return { got }
}
