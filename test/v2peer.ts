/**
 * A version 2 client made of nothing but the byte layout in docs/protocol-v2.md: it shares no code with the server, so
 * that the two cannot be wrong together.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Address {
  readonly host: string
  readonly port: number
}

/** What a client knows after a request. `unknown`: the connection broke before the answer was whole. */
export type Told<T> = { kind: 'answer'; value: T } | { kind: 'refused' } | { kind: 'unknown'; why: string }

export interface FetchedMessage {
  readonly from: string
  readonly id: number
  readonly type: number
  readonly content: Buffer
}

export interface Listed {
  readonly id: string
  readonly name: string
}

const text = 3
/** Longer than anything here takes: a server that stands still is to fail a test, not to hold it up. */
const patienceMs = 20_000

const nobody = '0'.repeat(32)
const headerBytes = 7
const refusedCode = 9000

/** Ids are hexadecimal everywhere. */
export async function register(server: Address, name: string, publicKey: Buffer): Promise<Told<string>> {
  const field = Buffer.alloc(255)
  field.write(name)
  return answered(await ask(server, request(nobody, 100, field, publicKey)), 1000, (payload) => payload.toString('hex'))
}

export async function list(server: Address, asker: string): Promise<Told<Listed[]>> {
  return answered(await ask(server, request(asker, 101)), 1001, (payload) =>
    chunksOf(payload, 271).map((line) => ({
      id: line.toString('hex', 0, 16),
      name: line.toString('utf8', 16, 16 + line.subarray(16).indexOf(0)),
    })),
  )
}

export async function publicKeyOf(server: Address, asker: string, target: string): Promise<Told<Buffer>> {
  return answered(await ask(server, request(asker, 102, hex(target))), 1002, (payload) => payload.subarray(16))
}

export async function send(
  server: Address,
  from: string,
  to: string,
  content: Buffer,
  type = text,
): Promise<Told<number>> {
  const head = Buffer.concat([hex(to), Buffer.from([type]), u32(content.length)])
  return answered(await ask(server, request(from, 103, head, content)), 1003, (payload) => payload.readUInt32LE(16))
}

/** Reads everything, then closes in good order: to the server that is a delivery. */
export async function fetch(server: Address, asker: string): Promise<Told<FetchedMessage[]>> {
  return answered(await ask(server, request(asker, 104)), 1004, messagesIn)
}

/** Reads the answer's header and breaks the connection off: nothing was delivered. */
export async function breakOffFetch(server: Address, asker: string): Promise<void> {
  const socket = connect(server)
  socket.on('error', () => {})
  socket.write(request(asker, 104))
  await Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => {})
  socket.resetAndDestroy()
}

export function request(asker: string, code: number, ...payload: readonly Buffer[]): Buffer {
  const bytes = payload.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([hex(asker), Buffer.from([2, code]), u32(bytes), ...payload])
}

/** Sends one request and takes everything up to the server's end. Undefined: the connection broke. */
export function ask(server: Address, bytes: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket: Socket = connect(server) // without allowHalfOpen: ends when the server does
    const chunks: Buffer[] = []
    let broken = false
    let ended = false
    socket.setTimeout(patienceMs, () => socket.resetAndDestroy())
    socket.on('error', () => {
      broken = true
    })
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('end', () => {
      ended = true
    })
    socket.on('close', () => resolve(broken || !ended ? undefined : Buffer.concat(chunks)))
    socket.write(bytes)
  })
}

function answered<T>(answer: Buffer | undefined, code: number, read: (payload: Buffer) => T): Told<T> {
  if (answer === undefined || answer.length < headerBytes) return { kind: 'unknown', why: 'no answer' }
  const announced = answer.readUInt32LE(3)
  if (answer.length !== headerBytes + announced)
    return { kind: 'unknown', why: `${answer.length - headerBytes} of ${announced} bytes` }
  if (answer.readUInt8(0) === 2 && answer.readUInt16LE(1) === refusedCode) return { kind: 'refused' }
  if (answer.readUInt8(0) !== 2 || answer.readUInt16LE(1) !== code)
    throw new Error(`not an answer of version 2: ${answer.subarray(0, 64).toString('hex')}`)
  return { kind: 'answer', value: read(answer.subarray(headerBytes)) }
}

function messagesIn(payload: Buffer): FetchedMessage[] {
  const messages: FetchedMessage[] = []
  for (let at = 0; at < payload.length; ) {
    const content = payload.subarray(at + 25, at + 25 + payload.readUInt32LE(at + 21))
    messages.push({
      from: payload.toString('hex', at, at + 16),
      id: payload.readUInt32LE(at + 16),
      type: payload.readUInt8(at + 20),
      content,
    })
    at += 25 + content.length
  }
  return messages
}

function chunksOf(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
}

function hex(id: string): Buffer {
  return Buffer.from(id, 'hex')
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
