import { Crowd, type Seat } from './crowd.ts'

/** Where something is watched. */
export interface Watched {
  /** The tick at which it will be looked at. */
  readonly tick: number
  readonly seat: Seat<Deadlined>
}

/** Something that has to be done by a certain time. `deadline` may be changed at will while it is watched. */
export interface Deadlined {
  /** Milliseconds of the monotonic clock. */
  deadline: number
  /** Belongs to whoever watches it; undefined at first. */
  watched: Watched | undefined
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
  readonly #slots: Crowd<Deadlined>[] = Array.from({ length: slots }, () => new Crowd())
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
    if (each.watched !== undefined) {
      if (each.watched.tick <= tick) return
      this.forget(each)
    }
    each.watched = { tick, seat: this.#slot(tick).enter(each) }
  }

  forget(each: Deadlined): void {
    if (each.watched === undefined) return
    const { tick, seat } = each.watched
    this.#slot(tick).leave(seat)
    each.watched = undefined
  }

  /** Expires what is due, or begins to: what is left of a crowd follows as soon as others had their turn. */
  advance(): void {
    const now = this.#nowMs()
    const until = Math.floor(now / this.#tickMs)
    // after a long stop, one round visits every slot
    this.#tick = Math.max(this.#tick, until - slots)
    let left = atOnceMax
    for (; this.#tick < until; this.#tick += 1) {
      const slot = this.#slot(this.#tick + 1)
      for (let each = slot.first(); each !== undefined; each = slot.first()) {
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
  }

  #slot(tick: number): Crowd<Deadlined> {
    return this.#slots[tick % slots] as Crowd<Deadlined> // there is one for every remainder
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
