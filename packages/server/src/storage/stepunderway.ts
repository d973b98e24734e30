import { ProtocolError } from '@messageu/protocol'
import type { Step, Stepped, Told } from '../archive.ts'
import type { StoredContent } from '../storage.ts'
import type { Acknowledgements } from './acknowledgements.ts'
import type { ContentFolder } from './contents.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Positions } from './positions.ts'
import type { Quotas } from './quotas.ts'
import { recordKinds, sealedHeadBytes } from './records.ts'
import type { Senders } from './senders.ts'
import type { Entrant, StepLine } from './stepline.ts'
import { type PlacedStep, type SealedAt, stepRecordBytes, writeStep } from './steprecords.ts'
import { messagesIn } from './stepsize.ts'
import type { Commit, WriterThread } from './writerthread.ts'
import type { YoungMessages } from './young.ts'

/** What steps meet on their way. */
export interface StepWay {
  readonly nowMs: () => number
  readonly positions: Positions
  readonly mailboxes: Mailboxes
  readonly quotas: Quotas
  readonly contents: ContentFolder
  readonly writer: WriterThread
  readonly young: YoungMessages
  readonly line: StepLine
  readonly senders: Senders
  readonly acknowledgements: Acknowledgements
  /** Ids of the contents that lie in files, by the position of their message. */
  readonly contentIds: Map<number, number>
  /** Bytes of steps that wait for files, their own or those of a step in front. */
  readonly held: { bytes: number }
  trim(box: number, through: number): void
}

const nowhere: readonly number[] = []

/**
 * A step from its admission until somebody is told what became of it. It is one object in every role that it plays on
 * the way: there are some hundred thousand a second.
 */
export class StepUnderWay implements Entrant, Commit, Stepped, SealedAt {
  readonly kind = recordKinds.step
  /** Of its record in the ring. */
  bytes = 0
  positions: readonly number[] = nowhere
  at = 0
  /** Contents in files, by the index of the message; undefined until they are all there. */
  files: ReadonlyMap<number, StoredContent> | undefined
  isRefused = false
  readonly #way: StepWay
  readonly #step: Step
  readonly #told: Told
  /** Bytes of disk that were promised. */
  readonly #promised: number
  #isHeld = true
  #place = 0

  constructor(way: StepWay, step: Step, told: Told, promised: number) {
    this.#way = way
    this.#step = step
    this.#told = told
    this.#promised = promised
    way.held.bytes += this.#heldBytes
    for (const { id, sent } of step.messages ?? []) if (sent !== undefined) way.senders.begin(id, sent)
    if (step.run !== undefined) way.senders.beginRun(step.run)
  }

  enter(): void {
    this.#leaveHold()
    this.bytes = stepRecordBytes(this.#placed)
    this.#way.writer.take(this)
  }

  /** Before it has entered. */
  refuse(error: Error): void {
    const { quotas, senders, contents } = this.#way
    const { messages = [], run } = this.#step
    this.#leaveHold()
    this.isRefused = true
    if (this.#promised > 0) quotas.giveBack(this.#messages, this.#promised)
    for (const { sent } of messages) if (sent !== undefined) senders.refused(sent.device, sent.number)
    if (run !== undefined) senders.refusedRun(run)
    // any other error leaves open whether the step is durable: the next start knows
    if (this.files !== undefined && error instanceof ProtocolError)
      void contents.remove(Array.from(this.files.values(), ({ id }) => id))
    this.#told.refused(error)
  }

  /** After it has entered. */
  refused(error: Error): void {
    const { line } = this.#way
    line.turnedAway(error)
    this.refuse(error)
    line.refused(error)
  }

  write(place: number): void {
    const { writer, positions, nowMs } = this.#way
    this.at = this.#step.at ?? Math.floor(nowMs())
    if (this.#messages > 0) this.positions = Array.from({ length: this.#messages }, () => positions.next())
    this.#place = place
    writeStep(writer.ring, place, this, this.#placed, this)
  }

  sealedAt(index: number, offset: number): void {
    this.#way.young.note(this.positions[index] as number, this.#place, offset) // a position for each
  }

  durable(): void {
    const { quotas, mailboxes, contentIds, senders, acknowledgements } = this.#way
    const { messages, run, trims, acknowledged } = this.#step
    const { at, positions } = this
    if (this.#promised > 0) quotas.giveBack(this.#messages, this.#promised)
    if (messages !== undefined)
      for (let i = 0; i < messages.length; i++) {
        const { box, content, sent } = messages[i] as (typeof messages)[number] // within its bounds
        const position = positions[i] as number // one for each message
        mailboxes.add(box, position, sealedHeadBytes + content.length)
        const file = this.files?.get(i)
        if (file !== undefined) contentIds.set(position, file.id)
        if (sent !== undefined) senders.accepted({ device: sent.device, number: sent.number, position, at })
      }
    if (run !== undefined) {
      const first = positions.length - run.count
      for (let i = 0; i < run.count; i++)
        mailboxes.add(run.place.box, positions[first + i] as number, sealedHeadBytes + run.contentBytes(i))
      senders.acceptedRun(run, this)
    }
    if (trims !== undefined) for (const { box, through } of trims) this.#way.trim(box, through)
    if (acknowledged !== undefined) acknowledgements.acknowledged(acknowledged.device, acknowledged.through)
    this.#told.durable(this)
  }

  get #messages(): number {
    return messagesIn(this.#step)
  }

  get #placed(): PlacedStep {
    return this.files === undefined ? this.#step : { ...this.#step, files: this.files }
  }

  /** A step that waits costs something, whatever its size. */
  get #heldBytes(): number {
    return Math.max(this.#promised, 1024)
  }

  #leaveHold(): void {
    if (this.#isHeld) this.#way.held.bytes -= this.#heldBytes
    this.#isHeld = false
  }
}
