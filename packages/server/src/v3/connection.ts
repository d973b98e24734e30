import assert from 'node:assert'
import type { Duplex } from 'node:stream'
import { decode, ProtocolError, reasons } from '@messageu/protocol'
import {
  answers,
  type Caller,
  encodeFrame,
  events,
  type Frame,
  type Hello,
  limits,
  type Nonce,
  operations,
  Proof,
  Refusal,
  RefusedError,
  readFrames,
  refusalOf,
  type SessionOpened,
} from '@messageu/protocol/v3'
import type { RawData, WebSocket } from 'ws'
import type { Archive } from '../archive.ts'
import type { Deadlined, Watched } from '../v2/deadlines.ts'
import type { GatheringRoute, Route, Routes } from './dispatch.ts'
import type { Figures } from './figures.ts'
import type { ServerIdentity } from './identity.ts'
import type { Gathering, Outcome, Replies } from './later.ts'
import type { V3Limits } from './limits.ts'
import type { OpenSessions } from './open-sessions.ts'
import { Outstanding } from './outstanding.ts'
import type { Pace, Paced } from './pace.ts'
import { judgeProof, mayOpen, type Place, unproved } from './prove.ts'
import { ProvedSession } from './proved-session.ts'
import type { Bucket, Rates } from './rates.ts'
import type { Device, Services } from './services.ts'
import { type Ending, endings, next, type SessionEvent, type SessionState } from './session.ts'
import { Signs } from './signs.ts'
import { type Turn, Wire } from './wire.ts'

/** What the listener shares with every connection. */
export interface ConnectionHost {
  readonly services: Services
  readonly sessions: OpenSessions
  readonly archive: Pick<Archive, 'position' | 'sends' | 'acknowledged'>
  readonly identity: ServerIdentity
  readonly routes: Routes
  readonly limits: V3Limits
  readonly figures: Figures
  readonly turn: Turn
  readonly pace: Pace
  /** What is asked without a proof, by address; `undefined` for those who may ask without limit. */
  strangerRate(remote: string): Bucket | undefined
  readonly deviceRates: Rates<number>
  /** Bytes of requests that are being served, over all connections. */
  readonly underWay: { bytes: number }
  watch(connection: Connection): void
  /** A request could not be served for a reason that the operator should know. */
  failed(operation: string, error: unknown): void
  closed(connection: Connection, why: Ending | undefined): void
}

export interface Peer {
  /** The address that rates are counted for. */
  readonly remote: string
  readonly host: string
  /** Looked up when a proof comes: the certificate that this very connection has shown. */
  shownCertificate(): Place['certificate']
}

/**
 * One WebSocket: says hello, hears one proof, and then serves the requests of one device. What it is in comes from
 * `next`; what follows from that is done here. Protocol 3 §2 and §3.
 */
export class Connection implements Deadlined, Paced, Replies {
  deadline: number
  watched: Watched | undefined
  readonly remote: string
  readonly #socket: WebSocket
  readonly #transport: Duplex & { readonly bytesRead?: number }
  readonly #peer: Peer
  readonly #host: ConnectionHost
  readonly #wire: Wire
  readonly #outstanding = new Outstanding()
  /** What has come and was not begun. */
  #frames: Frame[] = []
  #state: SessionState
  #session: ProvedSession | undefined
  #rate: Bucket | undefined
  /** Takes what the session sends. */
  #sends: Gathering | undefined
  /** Sends whose time is taken, and whom to tell. */
  #timed: Map<number, () => void> | undefined
  readonly #signs: Signs
  /** When requests were begun last. */
  #begunAt = 0

  constructor(socket: WebSocket, transport: Duplex, peer: Peer, host: ConnectionHost) {
    this.#socket = socket
    this.#transport = transport
    this.#peer = peer
    this.#host = host
    this.remote = peer.remote
    this.#wire = new Wire(socket, host.turn, host.figures)
    this.#wire.onDrain(() => this.#readOn())
    const now = this.#now()
    this.#signs = new Signs(now, host.limits.messageMs)
    this.deadline = now + limits.proofMs
    const hello = this.#newHello()
    this.#state = { phase: 'greeted', hello, asks: 0 }
    socket.on('message', (data, isBinary) => this.#onMessage(data, isBinary))
    socket.on('ping', () => this.#alive())
    socket.on('pong', () => this.#alive())
    socket.on('error', () => this.#happen({ kind: 'end', why: 'malformed' })) // ws has said why in its close
    socket.on('close', () => this.#onClose())
    this.#say('hello', hello)
  }

  get isOpen(): boolean {
    return this.#state.phase === 'open'
  }

  get #isClosing(): boolean {
    return this.#state.phase === 'closing'
  }

  /** Requests that have come and were not begun. */
  get wanted(): number {
    return this.#frames.length
  }

  get wire(): Wire {
    return this.#wire
  }

  /** Tells an open session that the server stops; ends as soon as what is under way is answered. */
  stop(retryAfterMs: number): void {
    if (this.isOpen) this.#session?.notice({ kind: 'stopping', body: { retryAfterMs } })
    this.#happen({ kind: 'stop' })
    this.#endIfIdle()
  }

  end(why: Ending): void {
    this.#happen({ kind: 'end', why })
  }

  expire(): void {
    const now = this.#now()
    const { phase } = this.#state
    if (phase === 'open' || phase === 'leaving') this.#lookForSigns()
    else if (phase === 'closing') this.#socket.terminate()
    else {
      this.deadline = now + limits.proofMs // while the proof is being judged
      this.#happen({ kind: 'late' })
    }
  }

  // ─── what comes in ───

  #onMessage(data: RawData, isBinary: boolean): void {
    this.#alive()
    if (this.#isClosing) return
    if (!isBinary) {
      this.#happen({ kind: 'end', why: 'text' })
      return
    }
    const message = data as Buffer // `nodebuffer` is the type that ws gives unless it is told otherwise
    this.#host.figures.receivedBytes += message.length
    const frames = this.#framesOf(message)
    if (this.#frames.length > 0) {
      for (const frame of frames) this.#frames.push(frame) // it waits for its turn already
      return
    }
    this.#frames = frames
    this.goOn()
  }

  /** Begins the requests that have come, as far as the present turn of the event loop allows. */
  goOn(): void {
    const frames = this.#frames
    const granted = this.#host.pace.take(frames.length)
    let begun = 0
    this.#begunAt = this.#now()
    while (begun < granted && !this.#isClosing) this.#onFrame(frames[begun++] as Frame)
    this.#sends?.end()
    this.#frames = this.#isClosing || begun === frames.length ? [] : frames.slice(begun)
    if (this.#isClosing) return
    if (this.#frames.length > 0) this.#host.pace.wait(this)
    if (this.#mustPause()) this.#socket.pause()
    else this.#readOn()
  }

  #framesOf(message: Buffer): Frame[] {
    try {
      return readFrames(message)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#happen({ kind: 'end', why: 'malformed' })
      return []
    }
  }

  #onFrame(frame: Frame): void {
    const { request, body } = frame
    if (request === 0 || this.#outstanding.has(request)) {
      this.#happen({ kind: 'end', why: 'malformed' }) // an answer to it could be taken for another one's
      return
    }
    this.#outstanding.add(request, body.length)
    this.#host.underWay.bytes += body.length
    const route = this.#host.routes[frame.code]
    try {
      if (frame.code === operations.prove.code) this.#onProof(frame)
      else this.#onRequest(frame, route)
    } catch (error) {
      this.refuse(request, route, error)
    }
  }

  #onRequest(frame: Frame, route: Route | undefined): void {
    if (route === undefined) throw new RefusedError('unknown-code', `there is no request ${frame.code}`)
    this.#admit(route.caller)
    if (route.name === 'send') this.#onSend(route, frame)
    else {
      this.#sends?.end() // what came before it is called before it
      route.serve(this.#host.services, this.#session ?? this.#peer, frame, new Answering(this, frame.request, route))
    }
  }

  #onSend(route: GatheringRoute, { body, request }: Frame): void {
    const session = this.#session
    assert(session !== undefined, 'only open sessions send')
    const timed = this.#host.figures.timing()
    if (timed !== undefined) {
      this.#timed ??= new Map()
      this.#timed.set(request, timed)
    }
    this.#sends ??= route.gather(this.#host.services, session, this)
    this.#sends.take(body, request)
  }

  /** Whether this may be asked here and now. Throws `RefusedError`. */
  #admit(caller: Caller): void {
    const { limits: own, underWay } = this.#host
    const { phase } = this.#state
    if (phase === 'leaving') throw new RefusedError('stopping', 'the server is stopping', { retryAfterMs: 1000 })
    if (phase !== 'open') {
      if (caller !== 'anyone' || phase !== 'greeted') throw new RefusedError('unproved', 'prove the session first')
      this.#happen({ kind: 'ask' })
      if (this.#isClosing) throw new RefusedError('limited', 'prove the session first')
      this.#spend(this.#host.strangerRate(this.remote))
    } else {
      if (caller === 'admin' && this.#session?.device.account.isAdmin !== true)
        throw new RefusedError('not-permitted', 'not for this account')
      this.#spend(this.#rate)
    }
    if (this.#outstanding.size > limits.outstandingMax)
      throw new RefusedError('limited', `more than ${limits.outstandingMax} requests without an answer`)
    if (underWay.bytes > own.underWayBytesMax)
      throw new RefusedError('busy', 'too much is under way', { retryAfterMs: own.retryAfterMs })
  }

  #spend(bucket: Bucket | undefined): void {
    const retryAfterMs = bucket?.take(this.#begunAt) ?? 0
    if (retryAfterMs > 0) throw new RefusedError('limited', 'too many requests', { retryAfterMs })
  }

  // ─── the proof ───

  #onProof({ request, body }: Frame): void {
    const state = this.#state
    if (state.phase !== 'greeted') throw new RefusedError('not-permitted', 'a session is proved once')
    this.#spend(this.#host.strangerRate(this.remote))
    const proof = decode(Proof, body)
    this.#happen({ kind: 'proof' })
    this.#prove(proof, state.hello).then(
      (opened) => this.#open(request, opened),
      (error: unknown) => {
        this.refuse(request, undefined, error)
        this.#happen({ kind: 'end', why: endingAfter(error) })
      },
    )
  }

  async #prove(proof: Proof, hello: Hello): Promise<SessionOpened> {
    const { services, identity, archive, sessions } = this.#host
    const place = { hello, host: this.#peer.host, certificate: this.#peer.shownCertificate() }
    const { device, signature } = await judgeProof(proof, place, { directory: services.directory, identity })
    if (this.#state.phase !== 'proving') throw unproved() // gone meanwhile
    this.#session = new ProvedSession(device, this)
    sessions.enter(this.#session) // from here on the older one sends nothing more, so that the number below is final
    const { highest } = await archive.sends(device.number)
    const acknowledged = await archive.acknowledged(device.number)
    if (!mayOpen(device)) throw unproved() // delisted while we waited
    return {
      signature,
      ...identityOf(device),
      sendNumber: highest,
      acknowledged,
      position: archive.position,
      at: services.clock.nowMs(),
    }
  }

  #open(request: number, opened: SessionOpened): void {
    const session = this.#session
    this.#happen({ kind: 'proved' })
    if (!this.isOpen || session === undefined) return // ended while it was judged
    this.#answer([request], encodeFrame({ code: answers.done, request }, operations.prove.response, opened))
    this.#rate = this.#host.deviceRates.of(session.device.number, this.#now())
    this.deadline = this.#now() + limits.heartbeatMs
    this.#host.watch(this)
    this.#host.services.deliveries.attach(session).catch((error: unknown) => {
      if (!this.isOpen) return // nobody waits for it any more, and the storage may be closed
      this.#host.failed('attach', error)
      this.end('internal')
    })
  }

  // ─── what goes out ───

  #newHello(): Hello {
    const { identity, services } = this.#host
    return {
      minorMin: limits.minorMin,
      minorMax: limits.minorMax,
      incarnation: identity.incarnation,
      nonce: services.random(32) as Nonce, // as many bytes as one has
      serverKey: identity.publicKey,
      frameBytesMax: limits.frameBytesMax,
      sealedBytesMax: limits.sealedBytesMax,
      outstandingMax: limits.outstandingMax,
    }
  }

  #say(name: 'hello', hello: Hello): void {
    this.#wire.send(encodeFrame({ code: events[name].code, request: 0 }, events[name].body, hello))
  }

  /** Sends are accepted. */
  done(requests: readonly number[], frames: Uint8Array): void {
    this.#host.figures.acceptedMessages += requests.length
    if (this.#timed !== undefined) for (const request of requests) this.#timed.get(request)?.()
    this.#answer(requests, frames)
  }

  /** One is refused. */
  failed(request: number, error: unknown): void {
    this.refuse(request, this.#host.routes[operations.send.code], error)
  }

  answerOne(request: number, route: Route, frame: Uint8Array): void {
    if (route.name === 'commit') this.#host.figures.acceptedMessages += 1
    this.#answer([request], frame)
  }

  #answer(requests: readonly number[], frames: Uint8Array): void {
    for (const request of requests) this.#settle(request)
    this.#readOn()
    if (this.#isClosing) return
    this.#wire.send(frames)
    if (this.#wire.backlog > this.#host.limits.backlogBytesEnd) this.end('busy')
    this.#endIfIdle()
  }

  refuse(request: number, route: Route | undefined, error: unknown): void {
    this.#settle(request)
    this.#readOn()
    const refusal = refusalOf(error)
    this.#host.figures.refused(refusal.reason)
    if (refusal.reason === 'internal' || refusal.reason === 'damaged') this.#host.failed(route?.name ?? 'prove', error)
    if (this.#isClosing) return
    this.#wire.send(encodeFrame({ code: answers.refused, request }, Refusal, refusal))
    this.#endIfIdle()
  }

  #settle(request: number): void {
    this.#host.underWay.bytes -= this.#outstanding.settle(request)
    this.#timed?.delete(request)
  }

  // ─── its life ───

  #happen(event: SessionEvent): void {
    const before = this.#state
    this.#state = next(before, event)
    if (this.#state.phase !== 'closing' || before.phase === 'closing') return
    this.#leave(before.phase)
    this.deadline = this.#now() + this.#host.limits.goodbyeMs
    this.#host.watch(this)
    this.#wire.close(endings[this.#state.why].code, this.#state.why)
    this.#socket.resume() // for the peer's own close
  }

  #endIfIdle(): void {
    if (this.#state.phase === 'leaving' && this.#outstanding.size === 0) this.#happen({ kind: 'idle' })
  }

  #leave(phase: SessionState['phase']): void {
    if (this.#session === undefined) return
    this.#host.sessions.leave(this.#session)
    if (phase === 'open' || phase === 'leaving') this.#host.services.deliveries.detach(this.#session)
    this.#session = undefined
  }

  #onClose(): void {
    const { phase } = this.#state
    const why = this.#state.phase === 'closing' ? this.#state.why : undefined
    this.#state = { phase: 'closing', why: why ?? 'timeout' } // whatever it was, it is over
    this.#leave(phase)
    this.#host.closed(this, why)
  }

  /** Whether more is under way, or waits to be taken by the peer, than lets us read on. */
  #mustPause(): boolean {
    const isBehind = this.#frames.length > 0
    return (
      isBehind ||
      this.#outstanding.size >= limits.outstandingMax ||
      this.#wire.backlog > this.#host.limits.backlogBytesMax
    )
  }

  #readOn(): void {
    if (this.#socket.isPaused && !this.#mustPause()) this.#socket.resume()
  }

  #alive(): void {
    this.#signs.heard(this.#now())
  }

  #lookForSigns(): void {
    const { bytesRead = 0 } = this.#transport
    const look = this.#signs.look({ nowMs: this.#now(), bytesRead, isReading: !this.#socket.isPaused })
    if (look.isOver) {
      this.end('timeout')
      return
    }
    if (look.ask) this.#socket.ping()
    this.deadline = look.dueMs
  }

  #now(): number {
    return this.#host.services.clock.monotonicMs()
  }
}

/** What the outcome of a request is told to that is served alone. */
class Answering implements Outcome<Uint8Array> {
  readonly #connection: Connection
  readonly #request: number
  readonly #route: Route

  constructor(connection: Connection, request: number, route: Route) {
    this.#connection = connection
    this.#request = request
    this.#route = route
  }

  done(frame: Uint8Array): void {
    this.#connection.answerOne(this.#request, this.#route, frame)
  }

  failed(error: unknown): void {
    this.#connection.refuse(this.#request, this.#route, error)
  }
}

function endingAfter(error: unknown): Ending {
  if (!(error instanceof ProtocolError)) return 'internal'
  return reasons[error.reason].retry === 'later' ? 'busy' : 'unproved'
}

function identityOf({ account }: Device): Pick<SessionOpened, 'account' | 'isAdmin' | 'listVersion' | 'listHash'> {
  return {
    account: account.id,
    isAdmin: account.isAdmin,
    listVersion: account.list.version,
    listHash: account.list.hash,
  }
}
