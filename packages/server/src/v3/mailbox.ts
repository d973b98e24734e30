import assert from 'node:assert'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Archive, BoxReader, Waiting } from '../archive.ts'
import { type Interval, open } from './conversation.ts'

/** A message that waits, and where. */
export interface Found {
  readonly waiting: Waiting
  /** Whose box it is in; undefined for the device's own. */
  readonly conversation: ConversationId | undefined
}

/** Positions behind the first and up to the second. */
export type Range = Pick<Interval, 'after' | 'until'>

interface Source {
  readonly box: number
  readonly conversation: ConversationId | undefined
  /** Where the device may read, in order; undefined until somebody has looked. */
  ranges: readonly Range[] | undefined
  reader: BoxReader
  /** The position of its oldest message. */
  head: number
}

/**
 * What one device has in front of it: the boxes that it reads, merged by position behind one place. Only boxes in which
 * something waits are held, so that it costs nothing to take part in many quiet conversations.
 */
export class Mailbox {
  readonly #archive: Pick<Archive, 'reader' | 'newestOf'>
  /** A binary heap: the source with the oldest message is the first. */
  readonly #heap: Source[] = []
  readonly #sources = new Map<number, Source>()
  #place: number

  constructor(archive: Pick<Archive, 'reader' | 'newestOf'>, place: number) {
    this.#archive = archive
    this.#place = place
  }

  /** Everything up to here was taken, or was not for this device. */
  get place(): number {
    return this.#place
  }

  get isEmpty(): boolean {
    return this.#heap.length === 0
  }

  /** Something may wait in a box, or the device may read there what it might not before. */
  add(box: number, conversation: ConversationId | undefined): void {
    const known = this.#sources.get(box)
    if (known !== undefined) known.ranges = everythingOf(known)
    if (known !== undefined || this.#archive.newestOf(box) <= this.#place) return
    const reader = this.#archive.reader(box, this.#place)
    const waiting = reader.peek()
    if (waiting === undefined) return
    const source: Source = { box, conversation, ranges: undefined, reader, head: waiting.position }
    source.ranges = everythingOf(source)
    this.#sources.set(box, source)
    this.#heap.push(source)
    this.#rise(this.#heap.length - 1)
  }

  /** The conversation that comes next, if it is not known what the device may read there. */
  get unknown(): ConversationId | undefined {
    const [first] = this.#heap
    return first?.ranges === undefined ? first?.conversation : undefined
  }

  /** What the device may read in the conversation that comes next. */
  know(conversation: ConversationId, ranges: readonly Range[]): void {
    const [first] = this.#heap
    if (first?.conversation === conversation) first.ranges ??= ranges
  }

  /** The oldest message that the device may read; the place moves behind it. Undefined if none is known. */
  take(): Found | undefined {
    for (let first = this.#heap[0]; first?.ranges !== undefined; first = this.#heap[0]) {
      const waiting = first.reader.peek()
      const range = first.ranges.find(({ until }) => first.head <= until)
      if (range === undefined) this.#drop()
      else if (waiting?.position !== first.head)
        this.#renew(first) // what it had was trimmed meanwhile
      else if (waiting.position <= range.after) {
        first.reader = this.#archive.reader(first.box, range.after)
        this.#renew(first)
      } else {
        first.reader.advance()
        this.#renew(first)
        this.#place = waiting.position
        return { waiting, conversation: first.conversation }
      }
    }
    return undefined
  }

  /** What was newest went past, without being taken. Nothing else may wait. */
  pass(position: number): void {
    assert(this.isEmpty && position >= this.#place, 'nothing is passed over')
    this.#place = position
  }

  #renew(first: Source): void {
    const next = first.reader.peek()
    if (next === undefined) this.#drop()
    else {
      first.head = next.position
      this.#sink(0)
    }
  }

  /** Nothing is left in the first box, or nothing that the device may read. */
  #drop(): void {
    const [first] = this.#heap
    const last = this.#heap.pop()
    if (first !== undefined) this.#sources.delete(first.box)
    if (last === undefined || last === first) return
    this.#heap[0] = last
    this.#sink(0)
  }

  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1
      if (this.#head(parent) <= this.#head(at)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  #sink(from: number): void {
    for (let at = from; ; ) {
      const left = 2 * at + 1
      const least = this.#head(left + 1) < this.#head(left) ? left + 1 : left
      if (this.#head(at) <= this.#head(least)) return
      this.#swap(at, least)
      at = least
    }
  }

  #head(at: number): number {
    return this.#heap[at]?.head ?? Number.POSITIVE_INFINITY
  }

  #swap(one: number, other: number): void {
    const [first, second] = [this.#heap[one], this.#heap[other]]
    assert(first !== undefined && second !== undefined, 'both are in the heap')
    this.#heap[one] = second
    this.#heap[other] = first
  }
}

/** The box of a device is all its own. */
function everythingOf({ conversation }: Source): readonly Range[] | undefined {
  return conversation === undefined ? [{ after: 0, until: open }] : undefined
}
