import { once } from 'node:events'
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { authorityOf, type Hash, type Link, limits as protocol } from '@messageu/protocol/v3'
import { isLoopback, type Security, socketUrl, usesTls } from '../addressing.ts'
import { type Clock, systemClock } from '../clock.ts'
import { badAnswer, ClientError } from '../errors.ts'
import { type Channel, type ChannelEvents, subprotocol, type Transport } from '../transport.ts'
import { certificateHash, isIssuedBy } from './certificate.ts'

export interface NodeTransportOptions {
  readonly security?: Security
  /** Authorities beside those that Node knows, as PEM. */
  readonly authorities?: readonly string[]
  /** For the dates of certificates. */
  readonly clock?: Clock
}

/**
 * WebSockets by `ws` over connections of our own: when the first byte of ours leaves, the certificate was issued by the
 * key in the link, or an authority vouches for the host. CONVERSATIONS B 1
 */
export function nodeTransport({
  security = 'auto',
  authorities,
  clock = systemClock,
}: NodeTransportOptions = {}): Transport {
  return {
    async open(link, events, { signal }) {
      signal.throwIfAborted()
      const { WebSocket } = await import('ws') // before there is a socket whose end somebody has to hear
      const { socket, certificate } = usesTls(link, security)
        ? await dialTls(link, { authorities, clock, signal })
        : await dialPlain(link, { mayLeave: security === 'plain', signal })
      return upgrade(WebSocket, { link, security }, { socket, certificate, events, signal })
    },
  }
}

interface Dialled {
  readonly socket: Socket
  readonly certificate: Hash | undefined
}

async function dialPlain(
  { host, port }: Link,
  { mayLeave, signal }: { mayLeave: boolean; signal: AbortSignal },
): Promise<Dialled> {
  const socket = connectPlain({ host, port, noDelay: true })
  await established(socket, 'connect', host, signal)
  if (!mayLeave && !isLoopback(socket.remoteAddress ?? '')) {
    socket.destroy()
    throw new ClientError('untrusted-server', `${host} is not this machine, and nothing goes elsewhere without TLS`)
  }
  return { socket, certificate: undefined }
}

async function dialTls(
  { host, port, serverKey }: Link,
  { authorities, clock, signal }: { authorities: readonly string[] | undefined; clock: Clock; signal: AbortSignal },
): Promise<Dialled> {
  const { connect } = await import('node:tls')
  const socket = connect({
    host,
    port,
    ...(isIP(host) === 0 && { servername: host }),
    ...(authorities !== undefined && { ca: [...authorities] }),
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    rejectUnauthorized: false, // judged below: there are two ways to be trusted
  })
  await established(socket, 'secureConnect', host, signal)
  try {
    socket.disableRenegotiation()
    socket.setNoDelay(true)
    return { socket, certificate: judge(socket, host, serverKey, clock.nowMs()) }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** The hash of the certificate of a server that may be spoken to. */
function judge(socket: TLSSocket, host: string, serverKey: Link['serverKey'], nowMs: number): Hash {
  const leaf = socket.getPeerX509Certificate()
  if (leaf === undefined) throw new ClientError('untrusted-server', `${host} shows no certificate`)
  if (isIssuedBy(leaf, serverKey, nowMs) || socket.authorized) return certificateHash(leaf)
  throw new ClientError(
    'untrusted-server',
    `the certificate of ${host} is neither from the server in the link nor from an authority (${socket.authorizationError})`,
  )
}

/** Waits for the connection, and destroys it when there is none. */
async function established(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  host: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await once(socket, event, { signal })
  } catch (cause) {
    socket.on('error', () => {}) // what comes after the first error changes nothing
    socket.destroy()
    signal.throwIfAborted()
    const why = cause instanceof Error ? cause.message : String(cause)
    const isTls = event === 'secureConnect' && /ssl|tls/i.test(why)
    const what = isTls ? `${host} does not speak TLS as it must` : `cannot connect to ${host}`
    throw new ClientError('unreachable', `${what}: ${why}`, { cause })
  }
}

async function upgrade(
  WebSocket: typeof import('ws').WebSocket,
  { link, security }: { link: Link; security: Security },
  { socket, certificate, events, signal }: Dialled & { events: ChannelEvents; signal: AbortSignal },
): Promise<Channel> {
  const webSocket = new WebSocket(socketUrl(link, security), [subprotocol], {
    createConnection: () => socket,
    headers: { host: authorityOf(link) },
    followRedirects: false,
    perMessageDeflate: false,
    maxPayload: protocol.frameBytesMax,
    skipUTF8Validation: true,
  })
  const opened = Promise.withResolvers<Channel>()
  let why = new ClientError('unreachable', `${link.host} does not open a session`)
  let isOpen = false
  const abort = (): void => {
    opened.reject(signal.reason)
    webSocket.terminate()
  }
  signal.addEventListener('abort', abort, { once: true })
  webSocket.on('error', (cause: Error) => {
    // `ws` checks the server's frames: what it does not take is against the protocol
    const isOurs = 'code' in cause && typeof cause.code === 'string' && cause.code.startsWith('WS_ERR')
    why = isOurs ? badAnswer(cause.message, cause) : lostBy(link.host, isOpen, cause)
  })
  webSocket.on('unexpected-response', (request, response) => {
    const retryAfterMs = 1000 * Number(/^\d{1,5}$/.exec(response.headers['retry-after'] ?? '')?.[0] ?? 0)
    why = new ClientError('unreachable', `${link.host} answers with status ${response.statusCode}`, { retryAfterMs })
    opened.reject(why)
    request.destroy()
  })
  webSocket.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary) return events.message(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    why = badAnswer('a message of text')
    webSocket.terminate()
  })
  webSocket.on('close', () => {
    opened.reject(why)
    if (isOpen) events.closed(why)
  })
  webSocket.on('open', () => {
    isOpen = true
    why = new ClientError('lost', `the connection to ${link.host} has ended`)
    opened.resolve({
      certificate,
      send: (message) => webSocket.send(message),
      close: () => webSocket.terminate(),
    })
  })
  try {
    return await opened.promise
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function lostBy(host: string, wasOpen: boolean, cause: Error): ClientError {
  if (wasOpen) return new ClientError('lost', `the connection to ${host} broke: ${cause.message}`, { cause })
  return new ClientError('unreachable', `cannot open a session at ${host}: ${cause.message}`, { cause })
}
