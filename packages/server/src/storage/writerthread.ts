import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { ProtocolError } from '@messageu/protocol'
import { limits } from '../limits.ts'
import { fromThread, sqliteCodes } from './damage.ts'
import { createRing, RingProducer } from './ring.ts'
import type { WriterStart } from './writer.ts'

/** Bytes of records for which the writer is woken in the middle of a turn of the event loop. */
const announceBytes = 16_384
/** What is told to have ended in one turn of the event loop, about a millisecond of work: records, and their bytes. */
const toldPerTurn = { records: 256, bytes: 2 ** 18 }

const everything = { records: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }

/** A record on its way to the disk. */
export interface Commit {
  readonly kind: number
  readonly bytes: number
  /** Called once, in the order of the calls of `commit`, when its place in the ring is known. */
  write(place: number): void
  /** Called when it is durable, before anything that came later is told. */
  durable(): void
  /** Called when it is refused, or its outcome will not be known; in the order of the calls as well. */
  refused(error: Error): void
}

interface Waiting {
  readonly commit: Commit
  /** Where it ends in the ring; 0 before it has a place. */
  end: number
}

/** The main thread's side of the writer: takes records in order, and tells each when it is durable or refused. */
export class WriterThread {
  readonly ring: RingProducer
  /** Rejects when nothing can be made durable any more. */
  readonly failed: Promise<never>
  readonly #rejectFailed: (error: Error) => void
  readonly #exited: Promise<void>
  /** In the ring, in its order. */
  #underWay: Waiting[] = []
  /** For when the ring has room again. */
  readonly #queue: Waiting[] = []
  #queuedBytes = 0
  /** Bytes of records since the writer was last woken. */
  #unannounced = 0
  #announcing = false
  /** Why nothing new is taken. */
  #ended: Error | undefined
  #isOver = false
  #drained: (() => void) | undefined

  constructor(start: Omit<WriterStart, 'ring'>) {
    const ring = createRing(limits.ringBytes)
    this.ring = new RingProducer(ring)
    const failure = Promise.withResolvers<never>()
    failure.promise.catch(() => {}) // whoever must know has its own handler
    this.failed = failure.promise
    this.#rejectFailed = failure.reject
    const workerData: WriterStart = { ...start, ring }
    const worker = new Worker(new URL(import.meta.resolve('#writer')), { workerData, name: 'writer' })
    worker.on('error', (error: Error) => this.fail(fromThread(error)))
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        if (this.#ended === undefined) this.fail(new Error('the writer thread has ended'))
        this.#isOver = true
        this.ring.interrupt()
        resolve()
      })
    })
    void this.#watch()
  }

  /**
   * Takes a record, which is told later that it is durable or refused; `busy` it is told at once, when too many wait.
   * When one is refused with `storage-full`, everything behind it is.
   */
  take(commit: Commit): void {
    const waiting: Waiting = { commit, end: 0 }
    if (this.#ended !== undefined) commit.refused(this.#ended)
    else if (this.#queue.length > 0 || !this.#place(waiting)) this.#enqueue(waiting)
  }

  /** The same as a promise, which resolves right after `durable`. */
  commit(commit: Omit<Commit, 'refused'>): Promise<void> {
    return new Promise((resolve, refused) => {
      this.take({
        kind: commit.kind,
        bytes: commit.bytes,
        write: (place) => commit.write(place),
        durable: () => {
          commit.durable()
          resolve()
        },
        refused,
      })
    })
  }

  /** Takes nothing new; resolves when everything that was taken is settled. */
  async drain(): Promise<void> {
    this.#ended ??= new ProtocolError('stopping', 'the storage is closed')
    if (this.#underWay.length > 0)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
  }

  /** Resolves when the thread has ended. */
  async close(): Promise<void> {
    await this.drain()
    this.ring.close()
    await this.#exited
  }

  /** Ends it at once: whoever waits for something that is not known to be durable is told `error`. */
  fail(error: Error): void {
    if (this.#isOver) return
    this.#settle('everything')
    this.#ended = error
    this.#rejectFailed(error)
    this.ring.close()
    // whoever ends everything because of it has done so by then
    setImmediate(() => {
      this.#refuseAll(error)
      this.#drained?.()
    })
  }

  /** Puts a record into the ring; false if there is no room. */
  #place(waiting: Waiting): boolean {
    const { commit } = waiting
    const place = this.ring.claim(commit.bytes, commit.kind)
    if (place === undefined) return false
    commit.write(place)
    waiting.end = place + commit.bytes
    this.#underWay.push(waiting)
    this.ring.publish()
    this.#wakeSoon(commit.bytes)
    return true
  }

  /** Wakes the writer once for all that a turn of the event loop brings, or as soon as that is enough to begin with. */
  #wakeSoon(bytes: number): void {
    this.#unannounced += bytes
    if (this.#unannounced >= announceBytes) {
      this.#unannounced = 0
      this.ring.wake()
    } else if (!this.#announcing) {
      this.#announcing = true
      setImmediate(() => {
        this.#announcing = false
        this.#unannounced = 0
        this.ring.wake()
      })
    }
  }

  #enqueue(waiting: Waiting): void {
    const bytes = queuedBytesOf(waiting)
    if (this.#queuedBytes + bytes > limits.queuedBytesMax) {
      waiting.commit.refused(new ProtocolError('busy', 'more is to be stored than the disk takes'))
      return
    }
    this.#queuedBytes += bytes
    this.#queue.push(waiting)
  }

  #refuseAll(error: Error): void {
    this.#queuedBytes = 0
    for (const { commit } of [...this.#underWay.splice(0), ...this.#queue.splice(0)]) commit.refused(error)
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      await this.ring.progress()
      while (this.#settle('a portion')) await nextTurn()
    }
  }

  /**
   * Tells what became of what the writer has consumed: everything if something has failed. Returns whether there is more
   * to tell.
   */
  #settle(what: 'a portion' | 'everything'): boolean {
    const { durable, failure } = this.ring.outcome()
    const underWay = this.#underWay
    const most = what === 'everything' || failure !== undefined ? everything : toldPerTurn
    const end = Math.min(underWay.length, most.records)
    let settled = 0
    for (let bytes = 0; settled < end && bytes < most.bytes; settled++) {
      const { end, commit } = underWay[settled] as Waiting // within its bounds
      if (end > durable) break
      bytes += commit.bytes
      commit.durable()
    }
    if (settled > 0) this.#underWay = underWay.slice(settled)
    if (failure !== undefined) this.#refuseAll(refusalOf(failure.code))
    for (let first = this.#queue[0]; first !== undefined && this.#place(first); first = this.#queue[0]) {
      this.#queue.shift()
      this.#queuedBytes -= queuedBytesOf(first)
    }
    const [first] = this.#underWay
    if (first === undefined) this.#drained?.()
    return first !== undefined && first.end <= durable
  }
}

/** A record that waits for a place costs something, whatever its size. */
function queuedBytesOf({ commit }: Waiting): number {
  return Math.max(commit.bytes, 1024)
}

function refusalOf(code: number): ProtocolError {
  const why = code === sqliteCodes.full ? 'the disk is full' : `the database cannot be written now (SQLite ${code})`
  return new ProtocolError('storage-full', why)
}
