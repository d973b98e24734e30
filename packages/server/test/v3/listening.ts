import { generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto'
import { once } from 'node:events'
import type { ClientRequestArgs } from 'node:http'
import { type Codec, decode, encode } from '@messageu/protocol'
import {
  type AccountId,
  type AccountName,
  answers,
  contexts,
  type DeviceId,
  errorOf,
  events,
  type Frame,
  type Hash,
  type Hello,
  type Invite,
  inContext,
  type Nonce,
  type Notice,
  type OperationName,
  operations,
  type Proof,
  Refusal,
  readFrames,
  SessionTranscript,
  type Signature,
  writeFrame,
} from '@messageu/protocol/v3'
import { type ClientOptions, WebSocket } from 'ws'
import { MemoryArchive } from '../../src/storage/memoryarchive.ts'
import { type Handlers, routesTo } from '../../src/v3/dispatch.ts'
import { keyObject, openIdentity, rawPublicKey, type ServerIdentity } from '../../src/v3/identity.ts'
import { listenV3, type V3Listener, type V3Options } from '../../src/v3/listener.ts'
import { OpenSessions } from '../../src/v3/open-sessions.ts'
import type { Account, Device, Directory, RequestOf, ResponseOf, Services, Session } from '../../src/v3/services.ts'

export const random = (count: number): Uint8Array => new Uint8Array(randomBytes(count))

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** A device that the world's directory knows, with the key that proves it. */
export interface Known {
  readonly device: Mutable<Device>
  readonly account: Mutable<Account>
  readonly requestKey: KeyObject
}

/** What the listener asks of the directory, with everything in the test's hand. */
export class People {
  readonly #devices = new Map<string, Known>()
  #listener: Parameters<Directory['onChange']>[0] = () => {}
  #numbers = 0

  add({ isAdmin = false }: { isAdmin?: boolean } = {}): Known {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const number = ++this.#numbers
    const account = { number, id: random(32) as AccountId, name: `person ${number}` as AccountName } as Mutable<Account>
    Object.assign(account, { isAdmin, isDisabled: false, quotaBytes: 0, createdAt: 0 })
    account.list = { version: 1, hash: random(32) as Hash } as Account['list'] // all that a session tells of it
    const certificate = { requestKey: rawPublicKey(publicKey) } as Device['certificate'] // all that a proof needs of it
    const device: Mutable<Device> = { number, id: random(16) as DeviceId, account, certificate, isListed: true }
    account.devices = [device]
    const known = { device, account, requestKey: privateKey }
    this.#devices.set(Buffer.from(device.id).toString('hex'), known)
    return known
  }

  delist({ device, account }: Known): void {
    device.isListed = false
    account.devices = []
    this.#listener(account, [device])
  }

  disable({ account }: Known): void {
    account.isDisabled = true
    this.#listener(account, [])
  }

  /** As much of a directory as sessions need. */
  get directory(): Directory {
    return {
      device: async (id: DeviceId) => this.#devices.get(Buffer.from(id).toString('hex'))?.device,
      onChange: (listener: Parameters<Directory['onChange']>[0]) => {
        this.#listener = listener
      },
    } as Directory
  }
}

export interface World extends AsyncDisposable {
  readonly listener: V3Listener
  readonly people: People
  readonly identity: ServerIdentity
  readonly sessions: OpenSessions
  readonly attached: Session[]
  readonly detached: Session[]
  readonly log: string[]
  readonly port: number
  /** Moves the listener's clock on. */
  pass(ms: number): void
  connect(options?: DialOptions): Promise<Peer>
  /** A proved session of somebody. */
  session(known: Known, options?: DialOptions): Promise<Peer>
}

interface DialOptions extends ClientOptions {
  readonly url?: string
}

export interface Setting extends Partial<Omit<V3Options, 'limits'>> {
  readonly handlers?: Partial<Handlers>
  readonly limits?: Partial<V3Options['limits']>
  /** What else happens when a session is attached to its deliveries. */
  readonly attach?: () => Promise<void>
}

export async function startListening({ handlers = {}, limits, attach, ...options }: Setting = {}): Promise<World> {
  const archive = new MemoryArchive({ nowMs: Date.now })
  const identity = await openIdentity(archive, random)
  const people = new People()
  const sessions = new OpenSessions()
  const attached: Session[] = []
  const detached: Session[] = []
  const log: string[] = []
  let ahead = 0
  const services = {
    directory: people.directory,
    sessions,
    deliveries: {
      async attach(session: Session): Promise<void> {
        attached.push(session)
        await attach?.()
      },
      detach: (session: Session) => void detached.push(session),
    },
    clock: { nowMs: Date.now, monotonicMs: () => performance.now() + ahead },
    random,
    serverKey: identity.publicKey,
  } as unknown as Services // what the listener itself uses; the rest is the operations' business
  const listener = await listenV3({
    host: '127.0.0.1',
    port: 0,
    services,
    sessions,
    archive,
    identity,
    routes: routesTo(allHandlers(handlers)),
    isBehindProxy: false,
    isReady: async () => true,
    log: {
      failed: ({ operation, error }) => log.push(`failed ${operation}: ${String(error)}`),
      ended: ({ why }) => log.push(`ended ${why}`),
      turnedAway: ({ why }) => log.push(`turned away: ${why}`),
    },
    ...options,
    limits: { deviceRate: { perSecond: 20_000, burst: 40_000 }, tickMs: 10, ...limits },
  })
  const { port } = listener.address
  const scheme = options.certificate === undefined ? 'ws' : 'wss'
  const connect = (dialled: DialOptions | undefined): Promise<Peer> =>
    Peer.dial(dialled?.url ?? `${scheme}://127.0.0.1:${port}/v3`, dialled ?? {})
  return {
    listener,
    people,
    identity,
    sessions,
    attached,
    detached,
    log,
    port,
    pass: (ms) => {
      ahead += ms
    },
    connect: (dialOptions) => connect(dialOptions),
    async session(known, dialOptions) {
      const peer = await connect(dialOptions)
      await peer.prove(known)
      return peer
    },
    [Symbol.asyncDispose]: () => listener.stop(0),
  }
}

/** Every operation is there; those that a test does not care about fail. */
function allHandlers(handlers: Partial<Handlers>): Handlers {
  const missing = (): never => {
    throw new Error('this test did not expect to be asked')
  }
  const names = Object.keys(operations).filter((name) => name !== 'prove')
  return { ...Object.fromEntries(names.map((name) => [name, missing])), ...handlers } as Handlers
}

/** A client without manners: says what the test wants it to say, and tells what comes back. */
export class Peer implements Disposable {
  readonly socket: WebSocket
  readonly url: URL
  /** Frames that nobody has asked for yet, and who waits for one. */
  readonly #frames: Frame[] = []
  readonly #waiting: { fits: (frame: Frame) => boolean; take: (frame: Frame) => void }[] = []
  readonly closed: Promise<{ code: number; why: string }>
  /** WebSocket messages that came, by their number of frames. */
  readonly messages: number[] = []
  #request = 0

  private constructor(url: string, options: ClientOptions) {
    this.url = new URL(url)
    this.socket = new WebSocket(url, ['messageu.v3'], { perMessageDeflate: false, ...options })
    this.socket.on('message', (data) => this.#onMessage(data as Buffer))
    this.socket.on('error', () => {})
    this.closed = once(this.socket, 'close').then(([code, why]) => ({ code: Number(code), why: String(why) }))
  }

  static async dial(url: string, options: ClientOptions): Promise<Peer> {
    const peer = new Peer(url, options)
    await once(peer.socket, 'open')
    return peer
  }

  /** The next frame that fits. Rejects when the connection closes before it comes. */
  async frame(fits: (frame: Frame) => boolean): Promise<Frame> {
    const at = this.#frames.findIndex(fits)
    const [found] = at < 0 ? [] : this.#frames.splice(at, 1)
    if (found !== undefined) return found
    const coming = new Promise<Frame>((take) => this.#waiting.push({ fits, take }))
    const end = this.closed.then(({ code, why }) => {
      throw new Error(`closed: ${code} ${why}`)
    })
    return Promise.race([coming, end])
  }

  async hello(): Promise<Hello> {
    const { body } = await this.frame(({ code }) => code === events.hello.code)
    return decode(events.hello.body, body)
  }

  async notice(): Promise<Notice> {
    const { body } = await this.frame(({ code }) => code === events.notice.code)
    return decode(events.notice.body, body)
  }

  send(...frames: Frame[]): void {
    this.socket.send(Buffer.concat(frames.map(writeFrame)))
  }

  /** A new number for a request. */
  number(): number {
    return ++this.#request
  }

  /** Sends bytes as a request and resolves with the answer's body, or rejects with the refusal. */
  async askRaw(code: number, body: Uint8Array, request = this.number()): Promise<Uint8Array> {
    this.send({ code, request, body })
    return this.answer(request)
  }

  async answer(request: number): Promise<Uint8Array> {
    const frame = await this.frame((each) => each.request === request)
    if (frame.code === answers.refused) throw errorOf(decode(Refusal, frame.body))
    return frame.body
  }

  async ask<N extends OperationName>(name: N, value: RequestOf<N>): Promise<ResponseOf<N>> {
    const { code, request, response } = operations[name]
    // the codecs of one row belong together
    const body = await this.askRaw(code, encode(request as Codec<unknown>, value))
    return decode(response as Codec<unknown>, body) as ResponseOf<N>
  }

  /** Proves a session as a good client does, but for what the test changes. Rejects unless the server's proof holds. */
  async prove(known: Known, change: ProofChange = {}): Promise<ResponseOf<'prove'>> {
    const hello = await this.hello()
    const { proof, transcript } = proofOf(known, hello, { host: this.url.host, ...change })
    const opened = await this.ask('prove', proof)
    const message = inContext(contexts.serverProof, transcript, proof.signature)
    if (!verify(null, message, keyObject(hello.serverKey), opened.signature)) throw new Error("the server's proof")
    return opened
  }

  [Symbol.dispose](): void {
    this.socket.terminate()
  }

  #onMessage(data: Buffer): void {
    const frames = readFrames(data)
    this.messages.push(frames.length)
    for (const frame of frames) {
      const at = this.#waiting.findIndex(({ fits }) => fits(frame))
      const [waiting] = at < 0 ? [] : this.#waiting.splice(at, 1)
      if (waiting === undefined) this.#frames.push(frame)
      else waiting.take(frame)
    }
  }
}

/** What a test says differently. `signed` is what stands in the transcript only, `claimed` in the proof only. */
export interface ProofChange {
  readonly host?: string
  readonly certificate?: Hash | undefined
  readonly signed?: Partial<SessionTranscript>
  /** What the device took for the server's first words. */
  readonly heard?: Partial<Hello>
  readonly claimed?: Partial<Proof>
  readonly context?: (typeof contexts)[keyof typeof contexts]
}

export function proofOf(
  { device, requestKey }: Pick<Known, 'device' | 'requestKey'>,
  hello: Hello,
  { host = '', certificate, signed = {}, heard = {}, claimed = {}, context = contexts.clientProof }: ProofChange,
): { proof: Proof; transcript: Uint8Array } {
  const nonce = random(32) as Nonce
  const transcript = encode(SessionTranscript, {
    hello: { ...hello, ...heard },
    minor: hello.minorMax,
    certificate,
    host,
    clientNonce: nonce,
    device: device.id,
    ...signed,
  })
  const signature = new Uint8Array(sign(null, inContext(context, transcript), requestKey)) as Signature
  const proof = { minor: hello.minorMax, certificate, host, nonce, device: device.id, signature, ...claimed }
  return { proof, transcript }
}

/** A plain HTTP answer. */
export async function get(
  url: string,
  init: RequestInit = {},
): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(url, init)
  return { status: response.status, text: await response.text(), headers: response.headers }
}

/** The status with which an upgrade is rejected, and what comes with it. */
export async function rejected(
  url: string,
  options: ClientOptions & ClientRequestArgs & { protocols?: string[] } = {},
): Promise<{ status: number; retryAfter: string | undefined }> {
  const socket = new WebSocket(url, options.protocols ?? ['messageu.v3'], options)
  socket.on('error', () => {})
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, import('node:http').IncomingMessage]
  response.resume()
  const { statusCode = 0, headers } = response
  socket.terminate()
  return { status: statusCode, retryAfter: headers['retry-after'] }
}

export const invite = (): Invite => random(16) as Invite
