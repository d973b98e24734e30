import { connect, type Socket } from 'node:net'
import { type Frame, readFrames } from '@messageu/protocol/v3'

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface WireOptions {
  readonly port: number
  /** Header lines instead of, or on top of, those of a proper request; `undefined` leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly path?: string
  readonly onFrame?: (frame: Frame) => void
}

/** A WebSocket (RFC 6455) that says what it is told to say, right or wrong. It answers pings while it reads. */
export class Wire {
  readonly socket: Socket
  /** Frames of ours, in the order in which they came. */
  readonly frames: Frame[] = []
  /** The code with which the server closed; undefined if it broke off. */
  readonly closed: Promise<number | undefined>
  /** What the server answered to the upgrade. */
  readonly head: string
  #waiting: Buffer
  #closeCode: number | undefined
  #onFrame: (frame: Frame) => void

  private constructor(socket: Socket, { head, rest }: { head: string; rest: Buffer }, onFrame: (frame: Frame) => void) {
    this.socket = socket
    this.head = head
    this.#waiting = rest
    this.#onFrame = onFrame
    this.closed = closeOf(socket).then(() => this.#closeCode)
    socket.on('data', (chunk: Buffer) => {
      this.#waiting = Buffer.concat([this.#waiting, chunk])
      this.#take()
    })
    this.#take()
  }

  /** Rejects with `Rejected` unless the server agrees to a WebSocket. */
  static async open({ port, headers = {}, path = '/v3', onFrame = () => {} }: WireOptions): Promise<Wire> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.on('error', () => {}) // the close that follows tells
    const lines = {
      host: `127.0.0.1:${port}`,
      upgrade: 'websocket',
      connection: 'Upgrade',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'bWVzc2FnZXUtdGVzdC1rZQ==',
      'sec-websocket-protocol': 'messageu.v3',
      ...headers,
    }
    const head = Object.entries(lines).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]))
    socket.write(`${[`GET ${path} HTTP/1.1`, ...head].join('\r\n')}\r\n\r\n`)
    const answer = await headOf(socket)
    if (!answer.head.startsWith('HTTP/1.1 101')) {
      socket.destroy()
      throw new Rejected(answer.head)
    }
    return new Wire(socket, answer, onFrame)
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.#onFrame = listener
  }

  /** Whether what is said now may still be heard. */
  get isOpen(): boolean {
    return this.socket.writable
  }

  /** One binary message with all these frames; nothing once the server has gone. */
  send(...frames: readonly Uint8Array[]): void {
    if (this.isOpen) this.socket.write(message(Buffer.concat(frames)))
  }

  #take(): void {
    for (;;) {
      const next = readMessage(this.#waiting)
      if (next === undefined) return
      this.#waiting = this.#waiting.subarray(next.end)
      if (next.opcode === opcodes.ping) this.socket.write(message(next.payload, { opcode: opcodes.pong }))
      if (next.opcode === opcodes.close) {
        this.#closeCode = next.payload.length < 2 ? 1005 : next.payload.readUInt16BE(0)
        this.socket.end(message(next.payload.subarray(0, 2), { opcode: opcodes.close }))
      }
      if (next.opcode !== opcodes.binary) continue
      for (const frame of readFrames(new Uint8Array(next.payload))) {
        this.frames.push(frame)
        this.#onFrame(frame)
      }
    }
  }
}

/** The server does not want this WebSocket. */
export class Rejected extends Error {
  override readonly name = 'Rejected'
  readonly status: number

  constructor(head: string) {
    super(head)
    this.status = Number(head.slice(9, 12))
  }
}

/** A WebSocket message as clients send it; the mask is zero, which leaves the bytes as they are. */
export function message(
  payload: Uint8Array,
  { opcode = opcodes.binary as number, first = 0x80, claimed = payload.length } = {},
): Buffer {
  const head = Buffer.alloc(claimed < 126 ? 6 : claimed < 65_536 ? 8 : 14)
  head[0] = first | opcode
  head[1] = 0x80 | (claimed < 126 ? claimed : claimed < 65_536 ? 126 : 127)
  if (head.length === 8) head.writeUInt16BE(claimed, 2)
  if (head.length === 14) head.writeBigUInt64BE(BigInt(claimed), 2)
  return Buffer.concat([head, payload])
}

function readMessage(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined
  const short = bytes.readUInt8(1) & 0x7f
  const from = short < 126 ? 2 : short === 126 ? 4 : 10
  if (bytes.length < from) return undefined
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < from + length) return undefined
  return { opcode: bytes.readUInt8(0) & 0x0f, payload: bytes.subarray(from, from + length), end: from + length }
}

function closeOf(socket: Socket): Promise<undefined> {
  return new Promise((resolve) => {
    if (socket.closed)
      resolve(undefined) // a server that was killed may be gone before anybody listens
    else socket.once('close', () => resolve(undefined))
  })
}

async function headOf(socket: Socket): Promise<{ head: string; rest: Buffer }> {
  let bytes = Buffer.alloc(0)
  const ended = closeOf(socket)
  for (;;) {
    const end = bytes.indexOf('\r\n\r\n')
    if (end >= 0) return { head: bytes.toString('latin1', 0, end), rest: bytes.subarray(end + 4) }
    const chunk = await Promise.race([new Promise<Buffer>((resolve) => socket.once('data', resolve)), ended])
    if (chunk === undefined) throw new Rejected(bytes.toString('latin1'))
    bytes = Buffer.concat([bytes, chunk])
  }
}
