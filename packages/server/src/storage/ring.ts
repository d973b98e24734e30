import assert from 'node:assert'

/**
 * A ring of bytes in shared memory between one thread that writes records and one that makes them durable.
 *
 * The producer appends records; the consumer, whenever it is idle, takes all that have come so far: batches form by
 * themselves and a commit starts at once when there is nothing to wait for. Waking the other side costs microseconds,
 * because nothing is copied or cloned on the way (docs/decisions/0003).
 *
 * A record is a little-endian length (4 bytes, itself included), a kind (1 byte), 3 bytes unused, then its fields; it
 * starts at a multiple of 8 and never wraps: where it would, a skip record fills the end. Places are byte counts since
 * the start, so a place that was overwritten is recognised by its age.
 */
export const recordHeadBytes = 8
const skip = 0

/** Indexes into the control words. */
const control = {
  produced: 0,
  consumed: 1,
  sleeping: 2,
  closing: 3,
  failed: 4,
  failedFrom: 5,
  failedThrough: 6,
} as const
const controlWords = 8

export interface SharedRing {
  readonly control: SharedArrayBuffer
  readonly bytes: SharedArrayBuffer
}

/** @param capacity bytes, a power of two; the largest record takes at most half of it */
export function createRing(capacity: number): SharedRing {
  return { control: new SharedArrayBuffer(4 * controlWords), bytes: new SharedArrayBuffer(capacity) }
}

const aligned = (length: number): number => (length + 7) & ~7

/**
 * Places travel between the threads as 32 bits and are widened on each side: the two are never further apart than the
 * ring is long.
 */
function widen(place: number, near: number): number {
  return near + ((place - near) | 0)
}

/**
 * Copies into the ring. Not by `set`, which goes through shared memory word by word: four times as slow for a message of
 * 300 bytes.
 */
export function copyInto({ bytes: to }: RingProducer, bytes: Uint8Array, at: number): void {
  Buffer.prototype.copy.call(bytes, to, at)
}

export class RingProducer {
  readonly view: DataView
  readonly bytes: Buffer
  readonly #words: Int32Array
  readonly #capacity: number
  /** Where the next record goes, in bytes since the start. */
  #head = 0
  #consumed = 0

  constructor(shared: SharedRing) {
    this.#words = new Int32Array(shared.control)
    this.view = new DataView(shared.bytes)
    this.bytes = Buffer.from(shared.bytes)
    this.#capacity = shared.bytes.byteLength
  }

  /** The offset in `bytes` of a place. */
  offset(place: number): number {
    return place % this.#capacity
  }

  /** Whether the record at `place` is still there. */
  holds(place: number): boolean {
    return this.#head - place <= this.#capacity
  }

  /** Where a record of `length` bytes may be written now, or undefined when the consumer has to catch up first. */
  claim(length: number, kind: number): number | undefined {
    const size = aligned(length)
    assert(size <= this.#capacity / 2, 'a record fits whatever the place of its neighbours')
    let place = this.#head
    const toEnd = this.#capacity - this.offset(place)
    if (size > toEnd) place += toEnd
    if (place + size - this.#consumed > this.#capacity) return undefined
    if (place !== this.#head) this.#writeHead(this.offset(this.#head), toEnd, skip)
    this.#writeHead(this.offset(place), size, kind)
    this.#head = place + size
    return place
  }

  /** Hands over everything claimed so far. A consumer that sleeps has to be woken as well. */
  publish(): void {
    Atomics.store(this.#words, control.produced, this.#head | 0)
  }

  /** Wakes the consumer if it sleeps, which costs a call into the system. */
  wake(): void {
    if (Atomics.exchange(this.#words, control.sleeping, 0) === 1) Atomics.notify(this.#words, control.sleeping)
  }

  /**
   * What has become of the records: durable up to `durable`. If there is a failure, all others so far are not and never
   * will be, also those that the consumer had not seen: what comes later may build on what came before.
   */
  outcome(): Outcome {
    // consumed is read before failed, and written after it: a failure is never taken for a success
    const announced = widen(Atomics.load(this.#words, control.consumed), this.#consumed)
    const consumed = Math.max(announced, this.#consumed) // a refusal may be known before it is announced
    const code = Atomics.load(this.#words, control.failed)
    if (code === 0) {
      this.#consumed = consumed
      return { durable: consumed }
    }
    const durable = widen(Atomics.load(this.#words, control.failedFrom), this.#consumed)
    this.#consumed = this.#head
    Atomics.store(this.#words, control.failedThrough, this.#head | 0)
    Atomics.store(this.#words, control.failed, 0)
    Atomics.notify(this.#words, control.failed)
    return { durable, failure: { code } }
  }

  /** Resolves as soon as there is an outcome that was not yet asked for. Does not keep the process alive. */
  async progress(): Promise<void> {
    const { async, value } = Atomics.waitAsync(this.#words, control.consumed, this.#consumed | 0)
    if (async) await value
  }

  /** Lets `progress` resolve without any: the consumer is gone. */
  interrupt(): void {
    Atomics.notify(this.#words, control.consumed)
  }

  /** Lets the consumer end once it has consumed everything. */
  close(): void {
    Atomics.store(this.#words, control.closing, 1)
    this.wake()
  }

  #writeHead(offset: number, size: number, kind: number): void {
    this.view.setUint32(offset, size, true)
    this.view.setUint8(offset + 4, kind)
  }
}

export interface Outcome {
  readonly durable: number
  readonly failure?: { readonly code: number }
}

/** One record: its kind, and where its fields start in the ring's bytes. */
export interface RingRecord {
  readonly kind: number
  readonly offset: number
}

export class RingConsumer {
  readonly view: DataView
  readonly bytes: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #capacity: number
  #tail = 0
  #next = 0
  #produced = 0

  constructor(shared: SharedRing) {
    this.#words = new Int32Array(shared.control)
    this.view = new DataView(shared.bytes)
    this.bytes = shared.bytes
    this.#capacity = shared.bytes.byteLength
  }

  /**
   * Sleeps until there are records, `idleMs` have passed ('idle'), or the producer has closed and all is consumed
   * ('closed').
   */
  wait(idleMs: number): 'records' | 'idle' | 'closed' {
    for (;;) {
      // sleeping is announced before the last look: a producer that comes in between finds it and wakes us
      Atomics.store(this.#words, control.sleeping, 1)
      this.#produced = widen(Atomics.load(this.#words, control.produced), this.#produced)
      const found = this.#produced !== this.#tail ? 'records' : this.#closing ? 'closed' : undefined
      if (found === undefined && Atomics.wait(this.#words, control.sleeping, 1, idleMs) !== 'timed-out') continue
      Atomics.store(this.#words, control.sleeping, 0)
      return found ?? 'idle'
    }
  }

  get #closing(): boolean {
    return Atomics.load(this.#words, control.closing) === 1
  }

  /** The next record of the batch, or undefined when it holds `bytesMax` bytes or all that had come. */
  next(bytesMax: number): RingRecord | undefined {
    while (this.#next < this.#produced && this.#next - this.#tail < bytesMax) {
      const offset = this.#next % this.#capacity
      this.#next += this.view.getUint32(offset, true)
      const kind = this.view.getUint8(offset + 4)
      if (kind !== skip) return { kind, offset: offset + recordHeadBytes }
    }
    return undefined
  }

  /** Takes what is left of the batch, unread. */
  takeAll(bytesMax: number): void {
    while (this.next(bytesMax) !== undefined);
  }

  /** The batch is durable. */
  committed(): void {
    this.#tail = this.#next
    this.#announce(this.#tail)
  }

  /**
   * The batch cannot be made durable, for the reason `code`: returns once the producer has told the askers, and has
   * refused everything behind it as well.
   */
  refused(code: number): void {
    Atomics.store(this.#words, control.failedFrom, this.#tail | 0)
    Atomics.store(this.#words, control.failed, code)
    this.#announce(this.#next)
    while (Atomics.load(this.#words, control.failed) !== 0) Atomics.wait(this.#words, control.failed, code)
    this.#tail = widen(Atomics.load(this.#words, control.failedThrough), this.#tail)
    this.#next = this.#produced = this.#tail
    Atomics.store(this.#words, control.consumed, this.#tail | 0)
  }

  #announce(consumed: number): void {
    Atomics.store(this.#words, control.consumed, consumed | 0)
    Atomics.notify(this.#words, control.consumed)
  }
}
