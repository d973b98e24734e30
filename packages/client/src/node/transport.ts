import { once } from 'node:events'
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Hash, Link } from '@messageu/protocol/v3'
import { isLoopback, type Security, usesTls } from '../addressing.ts'
import { type Clock, systemClock } from '../clock.ts'
import { ClientError } from '../errors.ts'
import type { Transport } from '../transport.ts'
import { certificateHash, isIssuedBy } from './certificate.ts'
import { upgrade } from './upgrade.ts'

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
      const { framed } = await import('./framed.ts') // before there is a socket whose end somebody has to hear
      const { socket, certificate } = usesTls(link, security)
        ? await dialTls(link, { authorities, clock, signal })
        : await dialPlain(link, { mayLeave: security === 'plain', signal })
      const rest = await upgrade(socket, link, signal)
      return framed({ socket, rest, host: link.host, certificate }, events)
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
