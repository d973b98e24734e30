import type { Stepped } from '../archive.ts'
import { AcceptedRun, type Cleared, callAlone, type RunTold } from './accepted-run.ts'
import { acceptedFrames } from './acceptedframes.ts'
import type { Gathering, Replies } from './later.ts'
import type { Parts } from './parts.ts'
import { decide, isClearedBehind, type Obstacle, SendUnderWay } from './sending.ts'
import { SendInPlace } from './sendinplace.ts'
import type { Device } from './services.ts'

/** What one step may hold beside others: a message above it goes alone. */
const runBytesMax = 2 ** 16

/**
 * What one session sends in one go. As long as it goes into one conversation, its numbers grow and nothing has to be
 * waited for, it becomes one run: one step, one record in the ring, one end, one answer of many frames.
 */
export class SendGathering implements Gathering {
  readonly #parts: Parts
  readonly #device: Device
  readonly #replies: Replies
  #run: Run | undefined

  constructor(parts: Parts, device: Device, replies: Replies) {
    this.#parts = parts
    this.#device = device
    this.#replies = replies
  }

  take(body: Uint8Array, request: number): void {
    const send = new SendInPlace(body)
    if (this.#run?.mayTake(send) === false) this.end()
    try {
      if (this.#run?.clears(send) === true) this.#run.add(send, request)
      else this.#takeDecided(send, request, decide(this.#parts, this.#device, send))
    } catch (error) {
      this.#replies.failed(request, error)
    }
  }

  end(): void {
    const run = this.#run
    this.#run = undefined
    run?.call()
  }

  #takeDecided(send: SendInPlace, request: number, verdict: Cleared | Obstacle): void {
    const [parts, device, replies] = [this.#parts, this.#device, this.#replies]
    if (typeof verdict === 'function') {
      this.end()
      new SendUnderWay(parts, device, send, new LoneAnswer(replies, request)).waitFor(verdict)
    } else if (this.#run !== undefined) this.#run.add(send, request)
    else if (AcceptedRun.takes(send)) {
      this.#run = new Run({ parts, device, replies }, verdict, send)
      this.#run.add(send, request)
    } else callAlone(parts, device, verdict, send, new LoneAnswer(replies, request))
  }
}

interface RunParts {
  readonly parts: Parts
  readonly device: Device
  readonly replies: Replies
}

/** A run, and who waits for it. */
class Run implements RunTold {
  readonly #parts: RunParts
  readonly #cleared: Cleared
  readonly #run: AcceptedRun
  readonly #epoch: number
  readonly #generation: number
  readonly #requests: number[] = []
  readonly #idBeginnings: number[] = []
  #number = 0

  /** `first` is still to be added. */
  constructor(parts: RunParts, cleared: Cleared, first: SendInPlace) {
    this.#parts = parts
    this.#cleared = cleared
    this.#epoch = first.epoch
    this.#generation = first.generation
    this.#run = new AcceptedRun(parts.parts, parts.device, cleared, first, this)
  }

  /**
   * Whether `decide` may be asked for a send before the run is called: what is in the run is not known there as what the
   * device has sent.
   */
  mayTake(send: SendInPlace): boolean {
    return (
      send.number > this.#number &&
      this.#run.bytes + send.sealedBytes <= runBytesMax &&
      this.#run.hasRoom(send) &&
      !this.#idBeginnings.includes(send.idBeginning)
    )
  }

  /** Whether a send that may be taken is accepted by what was decided for the first. Throws refusals. */
  clears(send: SendInPlace): boolean {
    const { parts, device } = this.#parts
    if (send.epoch !== this.#epoch || send.generation !== this.#generation) return false
    return isClearedBehind(parts, device, this.#cleared, send)
  }

  add(send: SendInPlace, request: number): void {
    this.#run.add(send)
    this.#number = send.number
    this.#idBeginnings.push(send.idBeginning)
    this.#requests.push(request)
  }

  call(): void {
    this.#run.call()
  }

  accepted(sequence: number, stepped: Stepped): void {
    this.#parts.replies.done(this.#requests, acceptedFrames(this.#requests, sequence, stepped))
  }

  refused(error: Error): void {
    for (const request of this.#requests) this.#parts.replies.failed(request, error)
  }
}

/** The answer to a send that goes alone. */
class LoneAnswer implements RunTold {
  readonly #replies: Replies
  readonly #request: number

  constructor(replies: Replies, request: number) {
    this.#replies = replies
    this.#request = request
  }

  accepted(sequence: number, stepped: Stepped): void {
    const requests = [this.#request]
    this.#replies.done(requests, acceptedFrames(requests, sequence, stepped))
  }

  refused(error: unknown): void {
    this.#replies.failed(this.#request, error)
  }
}
