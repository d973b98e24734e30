import assert from 'node:assert'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Archive, BoxReader, Waiting } from '../archive.ts'

/** A message that waits, and where. */
export interface Found {
  readonly waiting: Waiting
  /** Whose box it is in; undefined for the device's own. */
  readonly conversation: ConversationId | undefined
}

interface Source {
  readonly box: number
  readonly conversation: ConversationId | undefined
  readonly reader: BoxReader
  /** The position of its oldest message. */
  head: number
}

/**
 * What one device has in front of it: the boxes that it reads, merged by position behind one place. Only boxes in which
 * something waits are held, so that it costs nothing to take part in many quiet conversations.
 */
export class Mailbox {
  readonly #archive: Pick<Archive, 'reader'>
  /** A binary heap: the source with the oldest message is the first. */
  readonly #heap: Source[] = []
  readonly #boxes = new Set<number>()
  #place: number

  constructor(archive: Pick<Archive, 'reader'>, place: number) {
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

  /** Something may wait in a box. */
  add(box: number, conversation: ConversationId | undefined): void {
    if (this.#boxes.has(box)) return
    const reader = this.#archive.reader(box, this.#place)
    const waiting = reader.peek()
    if (waiting === undefined) return
    this.#boxes.add(box)
    this.#heap.push({ box, conversation, reader, head: waiting.position })
    this.#rise(this.#heap.length - 1)
  }

  /** The oldest message of all boxes; the place moves behind it. Undefined if there is none. */
  take(): Found | undefined {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      const waiting = first.reader.peek()
      if (waiting?.position === first.head) {
        first.reader.advance()
        this.#renew(first)
        this.#place = waiting.position
        return { waiting, conversation: first.conversation }
      }
      this.#renew(first) // what it had was trimmed meanwhile
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
    if (next !== undefined) first.head = next.position
    else {
      this.#boxes.delete(first.box)
      const last = this.#heap.pop()
      if (last === undefined || last === first) return
      this.#heap[0] = last
    }
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
