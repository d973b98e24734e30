import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'

/** A frame of ours inside what came: its code, its request's number, and where its body lies. */
export type OnFrame = (code: number, request: number, bytes: Buffer, from: number, to: number) => void

/**
 * A WebSocket (RFC 6455) as cheap as a load generator needs it: binary messages only, and a mask of zeros, which leaves
 * the bytes as they are.
 */
export class Wire {
  readonly #socket: Socket
  readonly #onFrame: OnFrame
  #waiting: Buffer = Buffer.alloc(0)

  private constructor(socket: Socket, onFrame: OnFrame, first: Buffer) {
    this.#socket = socket
    this.#onFrame = onFrame
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', () => {})
    this.#take(first)
  }

  /** SHA-256 of the public key in the server's certificate, under TLS. */
  get certificate(): Uint8Array | undefined {
    const raw = (this.#socket as Partial<TLSSocket>).getPeerCertificate?.().raw
    if (raw === undefined) return undefined
    return createHash('sha256')
      .update(new X509Certificate(raw).publicKey.export({ format: 'der', type: 'spki' }))
      .digest()
  }

  static open({ port, isTls }: { port: number; isTls: boolean }, onFrame: OnFrame): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const target = { port, host: '127.0.0.1' }
      const socket = isTls
        ? connectTls({ ...target, rejectUnauthorized: false })
        : connect({ ...target, noDelay: true })
      const key = randomBytes(16).toString('base64')
      socket.write(
        `GET /v3 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Protocol: messageu.v3\r\n\r\n`,
      )
      let head = Buffer.alloc(0)
      const read = (chunk: Buffer): void => {
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        socket.off('data', read)
        if (!head.toString('latin1', 0, 12).endsWith('101')) reject(new Error(head.toString('latin1', 0, end)))
        else resolve(new Wire(socket, onFrame, head.subarray(end + 4)))
      }
      socket.on('data', read)
      socket.once('error', reject)
      socket.once('close', () => reject(new Error('closed')))
    })
  }

  /** One message with all these frames. */
  send(frames: readonly Uint8Array[]): void {
    const { bytes, from } = newMessage(frames.reduce((sum, frame) => sum + frame.length, 0))
    let at = from
    for (const frame of frames) {
      bytes.set(frame, at)
      at += frame.length
    }
    this.write(bytes)
  }

  /** A whole message, from `newMessage`. */
  write(message: Buffer): void {
    this.#socket.write(message)
  }

  /** Whether the system has taken whatever was written. */
  get isAllTaken(): boolean {
    return this.#socket.writableLength === 0
  }

  stopReading(): void {
    this.#socket.pause()
  }

  get isOpen(): boolean {
    return this.#socket.readyState === 'open'
  }

  close(): void {
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    let bytes = this.#waiting.length === 0 ? chunk : Buffer.concat([this.#waiting, chunk])
    for (let message = cut(bytes); message !== undefined; message = cut(bytes)) {
      const { opcode, from, to } = message
      if (opcode === 2) this.#frames(bytes, from, to)
      else if (opcode === 9) this.#socket.write(headOf(10, 0))
      bytes = bytes.subarray(to)
    }
    this.#waiting = bytes
  }

  #frames(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const length = bytes.readUInt32LE(at)
      this.#onFrame(bytes.readUInt8(at + 4), bytes.readUInt32LE(at + 5), bytes, at + 9, at + length)
      at += length
    }
  }
}

/** Room for one message whose payload of `length` bytes begins at `from`. */
export function newMessage(length: number): { bytes: Buffer; from: number } {
  const head = headOf(2, length)
  const bytes = Buffer.allocUnsafe(head.length + length)
  bytes.set(head)
  return { bytes, from: head.length }
}

function headOf(opcode: number, length: number): Buffer {
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const head = Buffer.alloc(2 + extended + 4)
  head.writeUInt8(0x80 | opcode, 0)
  head.writeUInt8(0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127), 1)
  if (extended === 2) head.writeUInt16BE(length, 2)
  if (extended === 8) head.writeBigUInt64BE(BigInt(length), 2)
  return head
}

/** Where the first whole message in `bytes` lies, or undefined. A server does not mask. */
function cut(bytes: Buffer): { opcode: number; from: number; to: number } | undefined {
  if (bytes.length < 2) return undefined
  const short = bytes.readUInt8(1) & 0x7f
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0
  const from = 2 + extended
  if (bytes.length < from) return undefined
  const length = extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  return bytes.length < from + length ? undefined : { opcode: bytes.readUInt8(0) & 0x0f, from, to: from + length }
}
