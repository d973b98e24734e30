import { RefusedError } from '@messageu/protocol/v3'
import { isLoopback } from '../v2/loopback.ts'
import { type Bucket, Rates } from './rates.ts'
import type { Clock } from './services.ts'

export const registrationLimits = {
  /** Of one source: a household at once, then two in a minute. */
  perSource: { perSecond: 1 / 30, burst: 20 },
  /** Of all sources together, without an invite. */
  inAll: { perSecond: 1, burst: 100 },
  /** Sources that are remembered. */
  sourcesMax: 100_000,
} as const

/**
 * How fast accounts may come into being. What is over the limit touches nobody who has an account, and not even those
 * who come with an invite: their number is in the hand of who invites. This machine's own programs are not counted.
 */
export class RegistrationRates {
  readonly #clock: Clock
  readonly #isLocal: (remote: string) => boolean
  readonly #perSource = new Rates<string>(registrationLimits.perSource, registrationLimits.sourcesMax)
  readonly #inAll = new Rates<'all'>(registrationLimits.inAll, 1)

  constructor(clock: Clock, isLocal: (remote: string) => boolean = isLoopback) {
    this.#clock = clock
    this.#isLocal = isLocal
  }

  get sources(): number {
    return this.#perSource.size
  }

  /** Counts one more attempt. Throws `limited` for one too many. */
  charge(remote: string, { hasInvite }: { hasInvite: boolean }): void {
    if (this.#isLocal(remote)) return
    const nowMs = this.#clock.monotonicMs()
    spend(this.#perSource.of(sourceOf(remote), nowMs), nowMs)
    if (!hasInvite) spend(this.#inAll.of('all', nowMs), nowMs)
  }
}

function spend(bucket: Bucket, nowMs: number): void {
  const retryAfterMs = bucket.take(nowMs)
  if (retryAfterMs > 0) throw new RefusedError('limited', 'too many registrations', { retryAfterMs })
}

/** Who counts as one: an IPv4 address, or the 64 bits of an IPv6 network that one subscriber has (RFC 6177). */
export function sourceOf(remote: string): string {
  const [address = ''] = remote.split('%')
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)
  if (mapped !== null || !address.includes(':')) return mapped?.[1] ?? address
  const [head = '', tail] = address.toLowerCase().split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - first.length - last.length
  const groups = [...first, ...Array<string>(Math.max(0, zeros)).fill('0'), ...last]
  return groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')
}
