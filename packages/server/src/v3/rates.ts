import type { Rate } from './limits.ts'

/** So much at once, so much each second. */
export class Bucket {
  readonly #rate: Rate
  #left: number
  #filledAt: number

  constructor(rate: Rate, nowMs: number) {
    this.#rate = rate
    this.#left = rate.burst
    this.#filledAt = nowMs
  }

  /** Takes one; 0 if there was one, else how long until there is. */
  take(nowMs: number): number {
    if (this.#left < 1) this.#fill(nowMs)
    if (this.#left < 1) return Math.ceil((1 - this.#left) * (1000 / this.#rate.perSecond))
    this.#left -= 1
    return 0
  }

  isFull(nowMs: number): boolean {
    this.#fill(nowMs)
    return this.#left >= this.#rate.burst
  }

  #fill(nowMs: number): void {
    const since = Math.max(0, nowMs - this.#filledAt)
    this.#left = Math.min(this.#rate.burst, this.#left + (since / 1000) * this.#rate.perSecond)
    this.#filledAt = nowMs
  }
}

/** A bucket for each of many. Whoever has been quiet is forgotten: a full bucket is as good as a new one. */
export class Rates<Key> {
  readonly #rate: Rate
  readonly #max: number
  readonly #buckets = new Map<Key, Bucket>()

  constructor(rate: Rate, max: number) {
    this.#rate = rate
    this.#max = max
  }

  get size(): number {
    return this.#buckets.size
  }

  of(key: Key, nowMs: number): Bucket {
    const known = this.#buckets.get(key)
    if (known !== undefined) return known
    if (this.#buckets.size >= this.#max) this.#makeRoom(nowMs)
    const bucket = new Bucket(this.#rate, nowMs)
    this.#buckets.set(key, bucket)
    return bucket
  }

  /** Forgets the full ones among the oldest; if there are none, the oldest of all. */
  #makeRoom(nowMs: number): void {
    const [oldest] = this.#buckets.keys()
    let looked = 0
    for (const [key, bucket] of this.#buckets) {
      if (bucket.isFull(nowMs)) this.#buckets.delete(key)
      looked += 1
      if (looked === 64) break
    }
    if (this.#buckets.size >= this.#max && oldest !== undefined) this.#buckets.delete(oldest)
  }
}
