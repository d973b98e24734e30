import type { Socket } from 'node:net'
import { ProtocolError, type Reason } from '@messageu/protocol'
import {
  type ClientId,
  type OperationName,
  type Request,
  type RequestEvents,
  RequestReader,
  refusal,
} from '@messageu/protocol/v2'
import { DamagedStorage } from '../storage/damage.ts'
import type { Crowd, Seat } from './crowd.ts'
import type { Deadlined, Watched } from './deadlines.ts'
import type { V2Limits } from './limits.ts'

/** What the listener shares with every connection. */
export interface ConnectionHost {
  readonly limits: V2Limits
  /** Those that have not closed. */
  readonly connections: Crowd<Connection>
  /** The monotonic clock. */
  nowMs(): number
  /** Whether a peer is on this machine. */
  isLocal(remote: string): boolean
  /** The connection has a new deadline. */
  watch(connection: Connection): void
  /** Whether the client may ask for this at all. Throws `ProtocolError` before anything behind the header was read. */
  admit(operation: OperationName, asker: ClientId): void
  /** Begins to serve a request of which everything but the content is here. Throws `ProtocolError` to refuse. */
  begin(request: Request, connection: Connection): Work | undefined
  /** Something was refused, and why: one line in the log. */
  refused(connection: Connection, reason: Reason, why: string): void
  closed(connection: Connection): void
}

/** What a request that is being served wants to know. The first two may throw `ProtocolError` to refuse. */
export interface Work {
  onContent?(piece: Uint8Array): void
  onComplete?(): void
  /** The peer has ended its side after a whole request. */
  onPeerEnd?(): void
  /** The deadline that the work has set is over. */
  onDeadline?(): void
  /** The connection is gone, or the request refused. `clean` says that it closed without an error. */
  onClose?(clean: boolean): void
}

type Phase = 'reading' | 'working' | 'delivering' | 'answered' | 'refused' | 'closed'

/**
 * One socket with one request. Reads the request within its deadlines, hands it to its work, and sees to it that the
 * answer arrives: bytes behind the request are read and dropped, because closing with unread input would reset the
 * connection and may destroy the answer on its way.
 */
export class Connection implements Deadlined, RequestEvents {
  deadline: number
  watched: Watched | undefined
  readonly socket: Socket
  readonly remote: string
  /** Whether the peer is on this machine. */
  readonly local: boolean
  readonly #host: ConnectionHost
  readonly #seat: Seat<Connection>
  readonly #reader: RequestReader
  #phase: Phase = 'reading'
  #work: Work | undefined
  #operation: OperationName | undefined
  #clean = true
  #lastByteAt: number
  #wholeDeadline: number
  #dropped = 0
  #heard = false

  constructor(socket: Socket, remote: string, host: ConnectionHost) {
    this.socket = socket
    this.remote = remote
    this.local = host.isLocal(remote)
    this.#host = host
    this.#seat = host.connections.enter(this)
    this.#lastByteAt = host.nowMs()
    this.#wholeDeadline = this.#lastByteAt + host.limits.headMs
    this.deadline = this.#wholeDeadline
    this.#reader = new RequestReader(this)
    socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('end', () => this.#onEnd())
    socket.on('error', () => {
      this.#clean = false
    })
    socket.on('close', () => this.#onClose())
  }

  get operation(): OperationName | undefined {
    return this.#operation
  }

  /** Whether the peer has said anything yet. */
  get heard(): boolean {
    return this.#heard
  }

  /** Sends the last bytes of the answer and waits for the peer to close. */
  answer(bytes: Uint8Array): void {
    if (this.#phase === 'refused' || this.#phase === 'closed') return
    this.#phase = 'answered'
    this.due(this.#host.limits.goodbyeMs)
    this.socket.end(bytes)
  }

  /** Sends the one answer that every refused request gets, and drops what the peer still sends. */
  refuse(reason: Reason, why: string): void {
    if (this.#phase !== 'reading' && this.#phase !== 'working') return
    this.#phase = 'refused'
    this.#reader.stop()
    const { limits } = this.#host
    const now = this.#host.nowMs()
    this.#lastByteAt = now
    this.#wholeDeadline = now + limits.drainMs
    this.due(limits.drainSilenceMs)
    this.#host.refused(this, reason, why)
    this.#work?.onClose?.(false)
    this.#work = undefined
    this.socket.resume()
    this.socket.end(refusal)
  }

  /** An answer of so many bytes has begun and is written by the work: nothing can be refused any more. */
  delivering(bytes: number): void {
    const { writeSilenceMs, slowestBytesPerMs } = this.#host.limits
    this.#phase = 'delivering'
    this.due(writeSilenceMs + bytes / slowestBytesPerMs)
  }

  /** The work has to be done, or to say more, in so many milliseconds. */
  due(inMs: number): void {
    this.deadline = this.#host.nowMs() + inMs
    this.#host.watch(this)
  }

  /** Refuses for what was thrown. */
  fail(error: unknown): void {
    this.refuse(...reasonOf(error))
  }

  /** One line in the log about something thrown that this peer cannot be told. */
  report(error: unknown): void {
    this.#host.refused(this, ...reasonOf(error))
  }

  expire(): void {
    const now = this.#host.nowMs()
    const { limits } = this.#host
    switch (this.#phase) {
      case 'reading': {
        const silent = this.socket.isPaused() ? now : this.#lastByteAt // while we are the slow side, nobody is silent
        this.deadline = Math.min(this.#wholeDeadline, silent + limits.silenceMs)
        if (this.deadline <= now) this.refuse('timeout', `the ${this.#reader.missing} did not come in time`)
        return
      }
      case 'refused':
        this.deadline = Math.min(this.#wholeDeadline, this.#lastByteAt + limits.drainSilenceMs)
        if (this.deadline <= now) this.socket.destroy()
        return
      case 'working':
      case 'delivering':
        this.#work?.onDeadline?.()
        return
      case 'answered':
        this.socket.destroy()
        return
      case 'closed':
    }
  }

  /** For the reader, as what follows. */
  onHeader(asker: ClientId, operation: OperationName): void {
    this.#operation = operation
    this.#host.admit(operation, asker)
  }

  onRequest(request: Request): void {
    if (request.kind === 'send') this.#expectContent(request.addressed.contentBytes)
    this.#work = this.#host.begin(request, this)
  }

  onContent(piece: Uint8Array): void {
    this.#work?.onContent?.(piece)
  }

  onComplete(): void {
    if (this.#phase === 'reading') this.#phase = 'working'
    if (this.#phase === 'working') this.deadline = Number.POSITIVE_INFINITY
    this.#work?.onComplete?.()
  }

  #expectContent(bytes: number): void {
    const { limits } = this.#host
    this.#wholeDeadline = this.#host.nowMs() + limits.contentMs + bytes / limits.slowestBytesPerMs
    this.due(limits.silenceMs)
  }

  #onData(chunk: Buffer): void {
    this.#heard = true
    this.#lastByteAt = this.#host.nowMs()
    if (this.#phase === 'reading') {
      try {
        this.#reader.push(chunk)
      } catch (error) {
        this.fail(error)
      }
    } else {
      this.#dropped += chunk.length
      if (this.#dropped > this.#host.limits.drainBytesMax) this.socket.destroy()
    }
  }

  #onEnd(): void {
    if (this.#phase === 'reading') this.refuse('malformed', `the connection ended inside the ${this.#reader.missing}`)
    else this.#work?.onPeerEnd?.()
  }

  #onClose(): void {
    if (this.#phase === 'reading')
      this.#host.refused(this, 'malformed', `the connection broke inside the ${this.#reader.missing}`)
    this.#phase = 'closed'
    this.#reader.stop()
    this.#work?.onClose?.(this.#clean)
    this.#work = undefined
    this.#host.connections.leave(this.#seat)
    this.#host.closed(this)
  }
}

/** What is neither the peer's fault nor the disk's is a mistake of ours. */
function reasonOf(error: unknown): [reason: Reason, why: string] {
  if (error instanceof ProtocolError) return [error.reason, error.message]
  if (error instanceof DamagedStorage) return ['damaged', error.message]
  return ['internal', error instanceof Error ? (error.stack ?? error.message) : String(error)]
}
