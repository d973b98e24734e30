import { limits } from '@messageu/protocol/v3'
import type { WebSocket } from 'ws'
import type { Figures } from './figures.ts'
import { v3Limits } from './limits.ts'

/** The wires that have something to send; all of them send it when the present turn of the event loop is over. */
export class Turn {
  readonly #wires: Wire[] = []
  readonly #end = (): void => {
    for (const wire of this.#wires.splice(0)) wire.flush()
  }

  add(wire: Wire): void {
    if (this.#wires.push(wire) === 1) process.nextTick(this.#end)
  }
}

/** Frames up to this may be parts of larger buffers. */
const ownBytesMax = 2 ** 13

const binary = { binary: true }

/**
 * The way out to one peer. Frames of one turn leave together, in one WebSocket message as far as its size allows: a
 * write for each would cost seven times as much.
 */
export class Wire {
  readonly #socket: WebSocket
  readonly #turn: Turn
  readonly #figures: Figures
  #frames: Uint8Array[] = []
  #queuedBytes = 0
  readonly #listeners = new Set<() => void>()
  readonly #onTaken = (): void => this.#taken()

  constructor(socket: WebSocket, turn: Turn, figures: Figures) {
    this.#socket = socket
    this.#turn = turn
    this.#figures = figures
  }

  /** Bytes that the network has not taken yet. */
  get backlog(): number {
    return this.#queuedBytes + this.#socket.bufferedAmount
  }

  /** A frame, or several beside each other, of which so many are deliveries. */
  send(frame: Uint8Array, deliveries = 0): void {
    this.#figures.deliveredMessages += deliveries
    this.#queuedBytes += frame.length
    if (this.#frames.push(frame) === 1) this.#turn.add(this)
  }

  /** Calls `listener` each time when the network has taken something and there is room; surely when it has taken all. */
  onDrain(listener: () => void): void {
    this.#listeners.add(listener)
  }

  flush(): void {
    if (this.#frames.length === 0) return
    const frames = this.#frames
    this.#figures.sentBytes += this.#queuedBytes
    this.#frames = []
    this.#queuedBytes = 0
    if (this.#socket.readyState !== this.#socket.OPEN) return
    for (const message of messagesOf(frames)) this.#socket.send(message, binary, this.#onTaken)
  }

  /** Says what is queued, then why this is the end. */
  close(code: number, why: string): void {
    this.flush()
    this.#listeners.clear()
    this.#socket.close(code, why)
  }

  #taken(): void {
    if (this.backlog > v3Limits.backlogBytesLow) return
    for (const listener of this.#listeners) listener()
  }
}

/** Frames one behind the other in as few messages as the largest frame allows. Protocol 3 §2.1. */
function* messagesOf(frames: readonly Uint8Array[]): Iterable<Uint8Array> {
  let first = 0
  let bytes = 0
  for (const [i, { length }] of frames.entries()) {
    if (bytes + length > limits.frameBytesMax) {
      yield joined(frames.slice(first, i), bytes)
      first = i
      bytes = 0
    }
    bytes += length
  }
  yield joined(first === 0 ? frames : frames.slice(first), bytes)
}

function joined(frames: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = frames
  // a small one lies beside others, all of which it would keep in memory as long as the peer does not take it
  if (frames.length === 1 && only !== undefined && bytes > ownBytesMax) return only
  const message = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const frame of frames) {
    message.set(frame, at)
    at += frame.length
  }
  return message
}
