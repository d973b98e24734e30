import { type Codec, encodeBehind } from '../codec.ts'
import { malformed } from '../errors.ts'
import { limits } from './limits.ts'

/** A frame's head: its length (4 bytes, itself included), its code (1) and its request's number (4). §2.1 */
export const frameHeadBytes = 9

/** One frame as it lies in a WebSocket message. `body` is a view. */
export interface Frame {
  readonly code: number
  /** Chosen by whoever asks, repeated by the answer; 0 in events. */
  readonly request: number
  readonly body: Uint8Array
}

/** The frames of one WebSocket message: at least one, with nothing between or behind them. Throws `malformed`. §2.1 */
export function readFrames(message: Uint8Array): Frame[] {
  if (message.length > limits.frameBytesMax) throw malformed(`${message.length} bytes in one message`)
  const { buffer, byteOffset } = message
  const view = new DataView(buffer, byteOffset, message.byteLength)
  const frames: Frame[] = []
  let at = 0
  do {
    if (frames.length === limits.framesPerMessageMax) throw malformed(`more than ${frames.length} frames in a message`)
    if (message.length - at < frameHeadBytes) throw malformed('a message ends inside the head of a frame')
    const length = view.getUint32(at, true)
    if (length < frameHeadBytes || length > message.length - at) throw malformed(`a frame of ${length} bytes`)
    // not `subarray`, which is slow in a Node Buffer and makes another one
    const body = new Uint8Array(buffer, byteOffset + at + frameHeadBytes, length - frameHeadBytes)
    frames.push({ code: view.getUint8(at + 4), request: view.getUint32(at + 5, true), body })
    at += length
  } while (at < message.length)
  return frames
}

/** A frame as bytes. */
export function writeFrame({ code, request, body }: Frame): Uint8Array {
  const bytes = new Uint8Array(frameHeadBytes + body.length)
  bytes.set(body, frameHeadBytes)
  writeHead(bytes, { code, request })
  return bytes
}

/** A frame as bytes, its body encoded where it stands. */
export function encodeFrame<T>(head: Omit<Frame, 'body'>, codec: Codec<T>, value: T): Uint8Array {
  const bytes = encodeBehind(frameHeadBytes, codec, value)
  writeHead(bytes, head)
  return bytes
}

function writeHead(bytes: Uint8Array, { code, request }: Omit<Frame, 'body'>): void {
  const { length } = bytes
  if (length > limits.frameBytesMax) throw malformed(`a frame of ${length} bytes`)
  writeU32(bytes, 0, length)
  bytes[4] = code
  writeU32(bytes, 5, request)
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i)
}
