import { encode, type Infer, struct, u32, u64 } from '@messageu/protocol'
import { limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { stored } from './accountrecords.ts'
import type { Calendar } from './calendar.ts'
import { numberKey } from './numbers.ts'
import type { Account } from './services.ts'

/** How often one account has claimed another's key packages, and since when that is counted. */
const Claims = struct({ count: u32, since: u64 })

const dayMs = 86_400_000
/** Counts of others that are looked at with each claim: more than a claim adds, so that old ones do not pile up. */
const sweptAtOnce = 4

/** How often an account may claim another's key packages in 24 hours. Protocol 3 §5.4. */
export class ClaimQuota {
  readonly #archive: Archive
  readonly #calendar: Calendar
  #sweptTo: Uint8Array | undefined

  constructor(archive: Archive, calendar: Calendar) {
    this.#archive = archive
    this.#calendar = calendar
  }

  /**
   * What a claim changes. Throws `limited` for one too many. Only one at a time for the same two accounts; a count that
   * is swept in the moment in which its day ends may forget the claim of that moment.
   */
  async charge(claimer: Account, account: Account, isContact: boolean): Promise<readonly ObjectChange[]> {
    const key = numberKey(account.number, claimer.number)
    const { count, since } = await this.#countAt(key)
    const max = isContact ? limits.contactClaimsPerDay : limits.strangerClaimsPerDay
    if (count >= max)
      throw new RefusedError('limited', `${max} claims a day`, {
        retryAfterMs: dayMs - this.#calendar.elapsedSince(since),
      })
    const old = await this.#sweep()
    return [...old, { kind: 'claim', key, value: encode(Claims, { count: count + 1, since }) }]
  }

  async #countAt(key: Uint8Array): Promise<Infer<typeof Claims>> {
    const bytes = await this.#archive.get('claim', key)
    const claims = bytes && stored(Claims, bytes)
    return claims === undefined || this.#isOver(claims) ? { count: 0, since: this.#calendar.nowMs } : claims
  }

  /** What is counted since a time that has not come dates from before the clock was set back: it could last for years. */
  #isOver({ since }: Infer<typeof Claims>): boolean {
    const elapsedMs = this.#calendar.elapsedSince(since)
    return elapsedMs < 0 || elapsedMs >= dayMs
  }

  async #sweep(): Promise<ObjectChange[]> {
    const range = { prefix: new Uint8Array(0), after: this.#sweptTo, limit: sweptAtOnce }
    const found = await this.#archive.scan('claim', range)
    this.#sweptTo = found.length < sweptAtOnce ? undefined : found.at(-1)?.key
    return found
      .filter(({ value }) => this.#isOver(stored(Claims, value)))
      .map(({ key }) => ({ kind: 'claim', key, value: undefined }))
  }
}
