import { type Accepted, answers, encodeFrame, operations } from '@messageu/protocol/v3'
import type { Stepped } from '../archive.ts'
import { AcceptedRun, type Cleared, type RunTold } from './accepted-run.ts'
import { acceptedFrames } from './acceptedframes.ts'
import type { Gathering, Outcome, Reply } from './later.ts'
import type { Parts } from './parts.ts'
import { decide, type Obstacle, SendUnderWay } from './sending.ts'
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
  #run: Run | undefined

  constructor(parts: Parts, device: Device) {
    this.#parts = parts
    this.#device = device
  }

  take(body: Uint8Array, reply: Reply): void {
    const request = new SendInPlace(body)
    if (this.#run?.mayTake(request) === false) this.end()
    let verdict: Cleared | Obstacle
    try {
      verdict = decide(this.#parts, this.#device, request)
    } catch (error) {
      reply.failed(error)
      return
    }
    if (typeof verdict === 'function') {
      this.end()
      new SendUnderWay(this.#parts, this.#device, request, new SingleAnswer(reply)).waitFor(verdict)
      return
    }
    this.#run ??= new Run(this.#parts, this.#device, verdict)
    this.#run.add(request, reply)
  }

  end(): void {
    const run = this.#run
    this.#run = undefined
    run?.call()
  }
}

/** A run, and who waits for it. */
class Run implements RunTold {
  readonly #run: AcceptedRun
  readonly #replies: Reply[] = []
  readonly #idBeginnings: number[] = []
  #number = 0

  constructor(parts: Parts, device: Device, cleared: Cleared) {
    this.#run = new AcceptedRun(parts, device, cleared, this)
  }

  /**
   * Whether `decide` may be asked for `request` before the run is called: what is in the run is not known there as what
   * the device has sent.
   */
  mayTake(send: SendInPlace): boolean {
    return (
      send.number > this.#number &&
      this.#run.bytes + send.sealedBytes <= runBytesMax &&
      send.isTo(this.#run.conversation.id) &&
      !this.#idBeginnings.includes(send.idBeginning)
    )
  }

  add(send: SendInPlace, reply: Reply): void {
    this.#number = send.number
    this.#idBeginnings.push(send.idBeginning)
    this.#replies.push(reply)
    this.#run.add(send)
  }

  call(): void {
    this.#run.call()
  }

  accepted(sequence: number, stepped: Stepped): void {
    const replies = this.#replies
    replies[0]?.doneTogether(replies, acceptedFrames(replies, sequence, stepped))
  }

  refused(error: Error): void {
    for (const reply of this.#replies) reply.failed(error)
  }
}

/** The answer to a send that was not answered with others. */
class SingleAnswer implements Outcome<Accepted> {
  readonly #reply: Reply

  constructor(reply: Reply) {
    this.#reply = reply
  }

  done(accepted: Accepted): void {
    const { request } = this.#reply
    this.#reply.done(encodeFrame({ code: answers.done, request }, operations.send.response, accepted))
  }

  failed(error: unknown): void {
    this.#reply.failed(error)
  }
}
