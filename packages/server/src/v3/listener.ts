import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { limits as protocolLimits } from '@messageu/protocol/v3'
import { WebSocketServer } from 'ws'
import type { Archive } from '../archive.ts'
import { Deadlines } from '../v2/deadlines.ts'
import { isLoopback } from '../v2/loopback.ts'
import { Admission } from './admission.ts'
import { type Certificate, certificateHash } from './certificate.ts'
import { Connection, type ConnectionHost } from './connection.ts'
import type { Routes } from './dispatch.ts'
import { Figures } from './figures.ts'
import { answer, dialledHost, forwardedAddress, isOwnOrigin, type Rejection, reject } from './http.ts'
import type { ServerIdentity } from './identity.ts'
import { type V3Limits, v3Limits } from './limits.ts'
import type { OpenSessions } from './open-sessions.ts'
import { Pace } from './pace.ts'
import type { Place } from './prove.ts'
import { Rates } from './rates.ts'
import { sourceOf } from './registrationrates.ts'
import type { Device, Services } from './services.ts'
import type { Ending } from './session.ts'
import { Turn } from './wire.ts'

export interface V3Options {
  readonly host: string
  /** 0 picks a free one. */
  readonly port: number
  readonly services: Services
  readonly sessions: OpenSessions
  readonly archive: ConnectionHost['archive'] & Pick<Archive, 'step'>
  readonly identity: ServerIdentity
  readonly routes: Routes
  /** With one, the listener speaks TLS only. */
  readonly certificate?: Certificate | undefined
  /** Whether a proxy in front takes the connections and does TLS. */
  readonly isBehindProxy: boolean
  /** Whether a durable write works. */
  readonly isReady: () => Promise<boolean>
  readonly log: V3Log
  readonly limits: Partial<V3Limits> & Pick<V3Limits, 'deviceRate'>
  /** Whether a peer's address is this machine's own. */
  readonly isLocal?: (remote: string) => boolean
}

/** What the listener tells the operator: reasons and counts, nothing that a peer wrote. */
export interface V3Log {
  /** Something that the operator should look into. */
  failed(entry: { operation: string; error: unknown }): void
  ended(entry: { why: Ending }): void
  turnedAway(entry: { why: string }): void
}

const socketPath = '/v3'
const subprotocol = 'messageu.v3'

const backlog = 4096

/** Listens for version 3. Rejects when the port cannot be had. */
export async function listenV3(options: V3Options): Promise<V3Listener> {
  const listener = new V3Listener(options)
  await listener.listen(options.host, options.port)
  return listener
}

export class V3Listener implements AsyncDisposable {
  readonly figures = new Figures()
  readonly #options: V3Options
  readonly #limits: V3Limits
  readonly #isLocal: (remote: string) => boolean
  readonly #server: Server | TlsServer
  readonly #sockets: WebSocketServer
  readonly #admission: Admission
  /** Behind a proxy the addresses are known only once a request is read. */
  readonly #forwarded: Admission
  readonly #open = new Set<Duplex>()
  readonly #connections = new Set<Connection>()
  /** Connections over a limit, by address and port: they get an answer, and nothing else. */
  readonly #turnedAway = new Set<string>()
  readonly #deadlines: Deadlines
  readonly #strangers: Rates<string>
  readonly #host: ConnectionHost
  #stopped: Promise<void> | undefined
  readonly #lastGone = Promise.withResolvers<void>()

  constructor(options: V3Options) {
    const { services, sessions, archive, identity, routes, certificate, isLocal = isLoopback, log } = options
    this.#options = options
    this.#limits = { ...v3Limits, ...options.limits }
    this.#isLocal = isLocal
    const nowMs = (): number => services.clock.monotonicMs()
    this.#deadlines = new Deadlines(nowMs, this.#limits.tickMs)
    const { connectionsPerAddressMax: perSource, connectionsMax: total, strangerRate, ratesMax } = this.#limits
    this.#admission = new Admission({ perSource, total }, options.isBehindProxy ? () => true : isLocal)
    this.#forwarded = new Admission({ perSource, total }, isLocal)
    this.#strangers = new Rates(strangerRate, ratesMax)
    this.#host = {
      services,
      sessions,
      archive,
      identity,
      routes,
      limits: this.#limits,
      figures: this.figures,
      turn: new Turn(),
      pace: new Pace(),
      strangerRate: (remote) => (isLocal(remote) ? undefined : this.#strangers.of(sourceOf(remote), nowMs())),
      deviceRates: new Rates(this.#limits.deviceRate, ratesMax),
      underWay: { bytes: 0 },
      watch: (connection) => this.#deadlines.watch(connection),
      failed: (operation, error) => log.failed({ operation, error }),
      closed: (connection, why) => this.#closed(connection, why),
    }
    this.#sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false, // what is sealed does not get smaller
      maxPayload: protocolLimits.frameBytesMax,
      maxFragments: this.#limits.fragmentsMax,
      maxBufferedChunks: this.#limits.chunksMax,
      handleProtocols: () => subprotocol, // it was offered, or the request had been rejected
    })
    this.#server = this.#newServer(certificate)
    services.directory.onChange((account, delisted) => {
      for (const device of delisted) this.#endSessionOf(device)
      if (account.isDisabled) for (const device of account.devices) this.#endSessionOf(device)
    })
  }

  async listen(host: string, port: number): Promise<void> {
    this.#server.listen({ host, port, backlog })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      this.#deadlines[Symbol.dispose]()
      throw error
    }
    // one connection that cannot be accepted is no reason to give up the others
    this.#server.on('error', ({ message }) => this.#options.log.turnedAway({ why: `not accepted: ${message}` }))
  }

  get address(): { host: string; port: number } {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the listener is closed')
    return { host: address.address, port: address.port }
  }

  get connections(): number {
    return this.#open.size
  }

  /** From now on new connections see this certificate. */
  useCertificate(certificate: Certificate): void {
    if (!('setSecureContext' in this.#server)) throw new Error('this listener speaks no TLS')
    this.#server.setSecureContext(contextOf(certificate))
  }

  /** Takes nothing new, tells the sessions when to come back, and answers what is under way within `graceMs`. */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs)
    return this.#stopped
  }

  /** Ends every connection, whatever it is doing. */
  endAll(): void {
    for (const socket of this.#open) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0)
  }

  async #stop(graceMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    const spreadMs = Math.max(this.#limits.comeBackMs, this.#connections.size * this.#limits.comeBackEachMs)
    for (const connection of this.#connections) connection.stop(this.#retryAfterMs(spreadMs))
    this.#server.closeIdleConnections()
    const grace = setTimeout(() => this.endAll(), graceMs)
    await closed // which comes before the connections say so
    if (this.#connections.size > 0) await this.#lastGone.promise
    clearTimeout(grace)
    this.#deadlines[Symbol.dispose]()
  }

  /** So that not everybody comes back at the same time. */
  #retryAfterMs(spreadMs: number): number {
    const [low = 0, high = 0] = this.#options.services.random(2)
    return Math.round(v3Limits.comeBackMs / 2 + (spreadMs * (low + 256 * high)) / 65_536)
  }

  #newServer(certificate: Certificate | undefined): Server | TlsServer {
    const { headMs, requestMs, betweenRequestsMs, headBytesMax } = this.#limits
    const http = {
      headersTimeout: headMs,
      requestTimeout: requestMs,
      keepAliveTimeout: betweenRequestsMs,
      maxHeaderSize: headBytesMax,
      connectionsCheckingInterval: 1000,
      noDelay: true,
    }
    const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
      void this.#onRequest(request, response)
    const server =
      certificate === undefined
        ? createServer(http, onRequest)
        : createTlsServer({ ...http, ...contextOf(certificate), handshakeTimeout: headMs }, onRequest)
    server.on('connection', (socket) => this.#onSocket(socket))
    server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head))
    return server
  }

  // ─── connections ───

  #onSocket(socket: Duplex & { readonly remoteAddress?: string; readonly remotePort?: number }): void {
    const { remoteAddress: remote, remotePort } = socket
    if (remote === undefined) {
      socket.destroy() // gone before it was looked at
      return
    }
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    if (this.#admission.enter(remote)) {
      socket.once('close', () => this.#admission.leave(remote))
      return
    }
    this.figures.turnedAway += 1
    this.#options.log.turnedAway({ why: 'too many connections' })
    if (this.#turnedAway.size >= this.#limits.refusalsAtOnceMax) {
      socket.destroy()
      return
    }
    const peer = `${remote} ${remotePort}`
    this.#turnedAway.add(peer)
    socket.once('close', () => this.#turnedAway.delete(peer))
  }

  /** Why somebody cannot be served now, whatever they ask. */
  #unavailable({ socket }: IncomingMessage): Rejection | undefined {
    const { retryAfterMs } = this.#limits
    if (this.#stopped !== undefined) return { status: 503, why: 'the server is stopping', retryAfterMs }
    const isOverLimit = this.#turnedAway.has(`${socket.remoteAddress} ${socket.remotePort}`)
    return isOverLimit ? { status: 503, why: 'too many connections', retryAfterMs } : undefined
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const unavailable = this.#unavailable(request)
    if (unavailable !== undefined) {
      answer(response, unavailable.status, `${unavailable.why}\n`, unavailable.retryAfterMs)
      return
    }
    const path = pathOf(request)
    if (path !== '/healthz' && path !== '/readyz') answer(response, 404, 'not found\n')
    else if (request.method !== 'GET' && request.method !== 'HEAD') answer(response, 405, 'GET and HEAD only\n')
    else if (path === '/healthz') answer(response, 200, 'ok\n')
    else if (await this.#options.isReady()) answer(response, 200, 'ready\n')
    else answer(response, 503, 'not ready: nothing can be stored\n', this.#limits.retryAfterMs)
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const unavailable = this.#unavailable(request) // a listener that stops has no address any more
    if (unavailable !== undefined) {
      reject(socket, unavailable)
      return
    }
    const security = this.#options.isBehindProxy ? 'proxy' : socket instanceof TLSSocket ? 'tls' : 'plain'
    const approach = { security, isLocalOnly: security === 'plain' && this.#isLocal(this.address.host) } as const
    const host = dialledHost(request.headers.host, approach)
    const rejection = typeof host === 'string' ? rejectionOf(request, host) : host
    if (rejection !== undefined || typeof host !== 'string') {
      reject(socket, rejection ?? { status: 400, why: 'no host' })
      return
    }
    const remote = this.#remoteOf(request)
    if (this.#options.isBehindProxy && !this.#forwarded.enter(remote)) {
      this.figures.turnedAway += 1
      reject(socket, { status: 503, why: 'too many connections', retryAfterMs: this.#limits.retryAfterMs })
      return
    }
    if (this.#options.isBehindProxy) socket.once('close', () => this.#forwarded.leave(remote))
    const peer = { remote, host, shownCertificate: () => this.#shownOn(socket) }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new Connection(webSocket, socket, peer, this.#host)
      this.#connections.add(connection)
      this.#deadlines.watch(connection)
    })
  }

  #remoteOf(request: IncomingMessage): string {
    return this.#options.isBehindProxy ? forwardedAddress(request) : (request.socket.remoteAddress ?? '')
  }

  #shownOn(socket: Duplex): Place['certificate'] {
    if (this.#options.isBehindProxy) return { kind: 'of-proxy' }
    if (!(socket instanceof TLSSocket)) return { kind: 'none' }
    const certificate = socket.getX509Certificate()
    if (!(certificate instanceof X509Certificate)) return { kind: 'none' } // the connection is gone
    return { kind: 'own', hash: certificateHash(certificate) }
  }

  #endSessionOf({ number }: Device): void {
    this.#options.sessions.ofDevice(number)?.end({ kind: 'delisted', body: undefined })
  }

  #closed(connection: Connection, why: Ending | undefined): void {
    this.#connections.delete(connection)
    this.#deadlines.forget(connection)
    if (this.#stopped !== undefined && this.#connections.size === 0) this.#lastGone.resolve()
    if (why === undefined) return
    this.figures.ended(why)
    this.#options.log.ended({ why })
  }
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '/'
}

function rejectionOf(request: IncomingMessage, dialled: string): Rejection | undefined {
  const { origin, 'sec-websocket-protocol': offered = '' } = request.headers
  if (pathOf(request) !== socketPath) return { status: 404, why: 'not found' }
  if (!offered.split(',').some((each) => each.trim() === subprotocol))
    return { status: 400, why: `the subprotocol is ${subprotocol}` }
  if (origin !== undefined && !isOwnOrigin(origin, dialled)) return { status: 403, why: 'the page is of another site' }
  return undefined
}

function contextOf({ chain, privateKey }: Certificate) {
  return { cert: chain, key: privateKey, minVersion: 'TLSv1.2' } as const
}
