import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { authorityOf, type Link } from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'
import { socketPath, subprotocol } from '../transport.ts'
import { type AnswerHead, headReader } from './answer-head.ts'

/**
 * The client's opening handshake of RFC 6455 §4.1, over a connection to whom it may be said. Resolves with what came behind
 * the answer, which are frames, in the turn of the socket in which it came; the socket is paused. It is destroyed when the
 * handshake fails: `unreachable`, or what the signal says.
 */
export async function upgrade(socket: Socket, link: Link, signal: AbortSignal): Promise<Buffer> {
  const key = randomBytes(16).toString('base64')
  socket.on('error', () => {}) // whoever waits hears of it beside; what comes after the first error changes nothing
  try {
    socket.write(requestOf(link, key))
    const { status, fields, rest } = await answerOn(socket, link.host, signal)
    if (status !== 101) throw otherStatus(link.host, status, fields.get('retry-after'))
    const flaw = flawOf(fields, key)
    if (flaw !== undefined) throw unopened(link.host, flaw)
    return rest
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function requestOf(link: Link, key: string): string {
  const lines = [
    `GET ${socketPath} HTTP/1.1`,
    `Host: ${authorityOf(link)}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
    `Sec-WebSocket-Protocol: ${subprotocol}`,
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

async function answerOn(socket: Socket, host: string, signal: AbortSignal): Promise<AnswerHead> {
  const { promise, resolve, reject } = Promise.withResolvers<AnswerHead>()
  const take = headReader()
  const read = (chunk: Buffer): void => {
    try {
      const answer = take(chunk)
      if (answer === undefined) return
      socket.pause()
      resolve(answer)
    } catch (cause) {
      failed(cause)
    }
  }
  const failed = (cause: unknown): void => reject(unopened(host, cause))
  const ended = (): void => failed('it ended the connection')
  const aborted = (): void => reject(signal.reason)
  signal.addEventListener('abort', aborted, { once: true })
  socket.on('data', read).on('error', failed).on('end', ended).on('close', ended)
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', aborted)
    socket.off('data', read).off('error', failed).off('end', ended).off('close', ended)
  }
}

/** What is wrong with an answer that agrees; there is no extension that we asked for. */
function flawOf(fields: AnswerHead['fields'], key: string): string | undefined {
  const connection = fields
    .get('connection')
    ?.toLowerCase()
    .split(/[ \t]*,[ \t]*/)
  if (fields.get('upgrade')?.toLowerCase() !== 'websocket') return 'its answer upgrades to something else'
  if (connection?.includes('upgrade') !== true) return 'its answer does not upgrade the connection'
  if (fields.get('sec-websocket-accept') !== acceptOf(key)) return 'its answer is not to this request'
  if (fields.get('sec-websocket-protocol') !== subprotocol) return `its answer does not agree to ${subprotocol}`
  if (fields.has('sec-websocket-extensions')) return 'its answer has an extension that nobody asked for'
  return undefined
}

function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

function otherStatus(host: string, status: number, retryAfter = ''): ClientError {
  const retryAfterMs = /^\d{1,5}$/.test(retryAfter) ? 1000 * Number(retryAfter) : 0
  return new ClientError('unreachable', `${host} answers with status ${status}`, { retryAfterMs })
}

function unopened(host: string, cause: unknown): ClientError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new ClientError('unreachable', `cannot open a session at ${host}: ${why}`, { cause })
}
