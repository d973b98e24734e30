/** Something that has to be done by a certain time. `deadline` may be changed at will while it is watched. */
export interface Deadlined {
  /** Milliseconds of the monotonic clock. */
  deadline: number
  /** Called when the deadline has passed; the object is watched on if it has set a later one. */
  expire(): void
}

const slots = 256
/** Looked at in one go, so that a crowd whose time is up does not hold up everybody else. */
const atOnceMax = 128

/**
 * One timer for all deadlines of a listener. Time goes round in slots; an object lies in the slot in which it was last
 * expected to expire, and is moved on if its deadline was put off meanwhile. Exact to about one tick.
 */
export class Deadlines implements Disposable {
  readonly #slots: Set<Deadlined>[] = Array.from({ length: slots }, () => new Set())
  /** The tick at which each will be looked at. */
  readonly #tickOf = new Map<Deadlined, number>()
  readonly #nowMs: () => number
  readonly #tickMs: number
  readonly #timer: NodeJS.Timeout
  #tick: number

  constructor(nowMs: () => number, tickMs: number) {
    this.#nowMs = nowMs
    this.#tickMs = tickMs
    this.#tick = Math.floor(nowMs() / tickMs)
    this.#timer = setInterval(() => this.advance(), tickMs)
    this.#timer.unref()
  }

  /** To be called when a deadline is new or was brought forward; one that was put off is noticed by itself. */
  watch(each: Deadlined): void {
    const ahead = Math.ceil(each.deadline / this.#tickMs) - this.#tick
    const tick = this.#tick + Math.min(Math.max(ahead, 1), slots - 1)
    const before = this.#tickOf.get(each)
    if (before !== undefined) {
      if (before <= tick) return
      this.#slot(before).delete(each)
    }
    this.#slot(tick).add(each)
    this.#tickOf.set(each, tick)
  }

  forget(each: Deadlined): void {
    const tick = this.#tickOf.get(each)
    if (tick === undefined) return
    this.#slot(tick).delete(each)
    this.#tickOf.delete(each)
  }

  /** Expires what is due, or begins to: what is left of a crowd follows as soon as others had their turn. */
  advance(): void {
    const now = this.#nowMs()
    const until = Math.floor(now / this.#tickMs)
    // after a long stop, one round visits every slot
    this.#tick = Math.max(this.#tick, until - slots)
    let left = atOnceMax
    for (; this.#tick < until; this.#tick += 1)
      for (const each of this.#slot(this.#tick + 1)) {
        if (left === 0) {
          setImmediate(() => this.advance())
          return
        }
        left -= 1
        this.forget(each)
        if (each.deadline <= now) each.expire()
        if (each.deadline > now) this.watch(each) // in a later slot than this one
      }
  }

  #slot(tick: number): Set<Deadlined> {
    return this.#slots[tick % slots] as Set<Deadlined> // there is one for every remainder
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
