import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { authorityOf, defaultPort } from '@messageu/protocol/v3'

/** What is said to somebody who cannot be served. */
export interface Rejection {
  readonly status: 400 | 403 | 404 | 405 | 421 | 503
  readonly why: string
  readonly retryAfterMs?: number
}

/** Answers a request in plain words. The connection goes: a body that came with it is not read. */
export function answer(response: ServerResponse, status: number, text: string, retryAfterMs?: number): void {
  if (status >= 400) response.setHeader('connection', 'close')
  if (retryAfterMs !== undefined) response.setHeader('retry-after', Math.ceil(retryAfterMs / 1000))
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(text)
}

/** The same for a socket that asked for a WebSocket. */
export function reject(socket: Duplex, { status, why, retryAfterMs }: Rejection): void {
  const body = `${why}\n`
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...(retryAfterMs === undefined ? [] : [`retry-after: ${Math.ceil(retryAfterMs / 1000)}`]),
  ]
  socket.on('error', () => {}) // whoever does not wait for the answer
  socket.once('finish', () => socket.destroy())
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
}

/** How clients reach the listener: what a name without a port means, and which names are its own. */
export interface Approach {
  readonly security: 'plain' | 'tls' | 'proxy'
  /** Whether only this machine can reach it. */
  readonly isLocalOnly: boolean
}

const localName = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** Host and port as the client has dialled them, the way proofs carry them, or why they cannot be served. §3.2 */
export function dialledHost(host: string | undefined, { security, isLocalOnly }: Approach): string | Rejection {
  const name = partsOf(host ?? '', security === 'plain' ? 80 : defaultPort)
  if (name === undefined) return { status: 400, why: 'the Host header is missing or no host' }
  // a page anywhere may have its name point to this machine, and would speak to us as ours
  if (isLocalOnly && !localName.test(name.bracketed))
    return { status: 421, why: 'this server answers to the names of this machine only' }
  return authorityOf(name)
}

/** Whether a browser's page is this server's own. Other programs send no Origin. */
export function isOwnOrigin(origin: string, dialled: string): boolean {
  const match = /^(https?):\/\/(.+)$/.exec(origin)
  const parts = match === null ? undefined : partsOf(match[2] ?? '', match[1] === 'http' ? 80 : defaultPort)
  return parts !== undefined && authorityOf(parts) === dialled
}

/** The client's address as the proxy in front has seen it: the last one, which the proxy itself has added. */
export function forwardedAddress({ headers, socket }: IncomingMessage): string {
  const last =
    String(headers['x-forwarded-for'] ?? '')
      .split(',')
      .at(-1)
      ?.trim() ?? ''
  return /^[0-9a-f.:]{2,45}$/i.test(last) ? last : (socket.remoteAddress ?? '')
}

const hostForm = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]{1,255})(?::(\d{1,5}))?$/i

function partsOf(text: string, portWithout: number): { host: string; bracketed: string; port: number } | undefined {
  const [, name, port] = hostForm.exec(text) ?? []
  if (name === undefined) return undefined
  const bracketed = name.toLowerCase()
  return { host: bracketed.replace(/^\[|\]$/g, ''), bracketed, port: port === undefined ? portWithout : Number(port) }
}
