import type { RandomBytes } from '@messageu/e2ee'
import { decode, encode } from '@messageu/protocol'
import {
  type Accepted,
  Commit,
  type ConversationId,
  limits as protocol,
  RefusedError,
  Send,
  SendId,
  type SessionOpened,
  toBase64url,
} from '@messageu/protocol/v3'
import { type Clock, fraction } from './clock.ts'
import type { Committer } from './committer.ts'
import { ClientError } from './errors.ts'
import { limits } from './limits.ts'
import { backoffMs } from './phase.ts'
import { dropRow, nextSendNumber, outboxRow, progressKeys, putRow, readRow, sendingRow } from './rows.ts'
import type { Change, RowStore, Store } from './store.ts'
import { orAborted } from './waiting.ts'
import type { Wire } from './wire.ts'

/** What a send or commit is known by; both stand in what is authenticated of it. Protocol 3 §6.5 */
export interface Place {
  readonly id: SendId
  readonly number: number
}

/** A request that is finished but for its place. */
export type Sealed =
  | { readonly operation: 'send'; readonly request: Omit<Send, keyof Place> }
  | { readonly operation: 'commit'; readonly request: Omit<Commit, keyof Place> }

/** A sealed request, and what has to be stored in the same step: the state that made it must never be used again. */
export interface Draft {
  readonly sealed: Sealed
  readonly changes: readonly Change[]
}

/** Makes a draft for the place that it gets, by the rows that it is given; has no effect but that. */
export type Seal = (place: Place, store: RowStore) => Promise<Draft>

/** A send or commit that has no answer yet. */
export interface Unanswered extends Place {
  readonly operation: Sealed['operation']
  readonly conversation: ConversationId
  readonly generation: number
  readonly epoch: number
}

export type Outcome =
  | { readonly kind: 'accepted'; readonly accepted: Accepted }
  | { readonly kind: 'refused'; readonly error: RefusedError }

/** Whoever knows what is in the payloads. Its functions have no effect but what they return. */
export interface Sender {
  /** What to store together with the answer. */
  answered(entry: Unanswered, outcome: Outcome, store: RowStore): Promise<readonly Change[]>
  /**
   * The same content for what the conversation is now; `later` if what it has become is still on its way here; nothing if
   * it is not to be sent any more. Protocol 3 §6.6
   */
  reseal(entry: Unanswered, refusal: RefusedError, store: RowStore): Promise<Draft | 'later' | undefined>
}

interface Entry {
  readonly unanswered: Unanswered
  /** The conversation as text, to compare it by. */
  readonly lane: string
  readonly body: Uint8Array
  readonly outcome: PromiseWithResolvers<Outcome>
  /** `settled` has its answer, and holds up nobody while that is being stored. */
  state: 'idle' | 'asked' | 'resealing' | 'cooling' | 'settled'
  attempts: number
  timer: Disposable | undefined
  /** Why it has to be sealed again, while what it is to be sealed for is on its way here. */
  stale: RefusedError | undefined
}

export interface OutboxOptions {
  readonly store: Store
  readonly clock: Clock
  readonly random: RandomBytes
  readonly sender: Sender
  readonly committer: Committer
  /** An answer was stored. */
  readonly stored: () => void
  /** Sending cannot go on: the store failed, or this profile is a copy. */
  readonly fail: (why: Error) => void
}

/**
 * What was sealed and has no answer yet. It is stored before it is sent, and sent as the same bytes until it is
 * answered: the server recognises a repetition, so that nothing is lost and nothing is done twice. Protocol 3 §6.5.
 *
 * One request of a conversation is under way at a time. With two, the second could be accepted when the first was
 * refused for a while, and the conversation would have them in an order that its sender never meant (I3). Only commits
 * pass messages that wait for the conversation to move: it may be one of them that moves it.
 */
export class Outbox {
  readonly #options: OutboxOptions
  /** By send number, ascending. */
  readonly #entries = new Map<number, Entry>()
  readonly #scope = new AbortController()
  #bytes = 0
  #nextNumber: number
  #wire: Wire | undefined
  /** Those that are being sealed and stored. */
  readonly #submitting = new Set<Promise<unknown>>()
  /** Requests under way, up to when their answers are stored. */
  readonly #asking = new Set<Promise<void>>()
  /** Replaced and resolved whenever an entry has gone. */
  #gone = Promise.withResolvers<void>()

  private constructor(options: OutboxOptions, nextNumber: number) {
    this.#options = options
    this.#nextNumber = nextNumber
  }

  /** With everything that had no answer when the store was last used. */
  static async load(options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(options, await nextSendNumber(options.store))
    let after: number | undefined
    for (;;) {
      const rows = await options.store.read('outbox', { after, limit: 64 })
      for (const { key, value } of rows) {
        const entry = storedEntry(value)
        if (entry.unanswered.number !== key || key >= outbox.#nextNumber)
          throw new ClientError('damaged', 'the outbox holds a send under another number')
        outbox.#add(entry)
        after = entry.unanswered.number
      }
      if (rows.length < 64) return outbox
    }
  }

  /** Sends and commits that have no answer yet, in their order. */
  get unanswered(): readonly Unanswered[] {
    return [...this.#entries.values()].map(({ unanswered }) => unanswered)
  }

  /**
   * Whether this device may send at all. Every number that was ever sent was stored before: a server that knows a
   * higher one has it from a copy of this profile, or the profile is an old one. CONVERSATIONS C 6
   */
  admit({ sendNumber }: Pick<SessionOpened, 'sendNumber'>): void {
    if (sendNumber < this.#nextNumber) return
    throw new ClientError(
      'clone',
      `the server has send ${sendNumber} of this device, and this profile has made ${this.#nextNumber - 1}`,
    )
  }

  /** A session is open: what has no answer is sent again, in its order, before anything else. */
  opened(wire: Wire): void {
    this.#wire = wire
    for (const entry of this.#entries.values()) if (entry.state === 'asked') entry.state = 'idle'
    this.#pump()
  }

  /**
   * Resolves when what `seal` made is stored: from then on it will be sent, whatever happens to this process. Waits
   * while too much is without an answer. `seal` may be called again when the store has changed meanwhile.
   */
  async submit(seal: Seal, { signal }: { signal: AbortSignal }): Promise<{ place: Place; outcome: Promise<Outcome> }> {
    await this.#room(signal)
    const submitted = this.#submit(seal, signal)
    this.#submitting.add(submitted)
    try {
      return await submitted
    } finally {
      this.#submitting.delete(submitted)
    }
  }

  /**
   * No more is sent, and whoever waits hears why. What has no answer stays stored, and is sent by whoever loads it next.
   * Resolves when nothing is being stored any more.
   */
  async end(why: Error): Promise<void> {
    this.#scope.abort(why)
    for (const { timer, outcome } of this.#entries.values()) {
      timer?.[Symbol.dispose]()
      outcome.reject(why)
    }
    await Promise.allSettled([...this.#submitting, ...this.#asking])
  }

  /** The place is the next one when it is its turn: what others have sealed before, in the same commit, included. */
  async #submit(seal: Seal, signal: AbortSignal) {
    const id = decode(SendId, this.#options.random(SendId.max))
    const { place, entry } = await this.#options.committer.run(async (store) => {
      signal.throwIfAborted()
      this.#scope.signal.throwIfAborted()
      const place: Place = { id, number: await nextSendNumber(store) }
      const { sealed, changes } = await seal(place, store)
      const entry = entryOf(sealed.operation, bodyOf(sealed, place))
      const next = putRow(sendingRow, progressKeys.sending, { nextNumber: place.number + 1 })
      return { changes: [next, rowOf(entry), ...changes], result: { place, entry } }
    })
    this.#nextNumber = place.number + 1
    this.#add(entry)
    if (this.#scope.signal.aborted) entry.outcome.reject(this.#scope.signal.reason)
    this.#pump()
    return { place, outcome: entry.outcome.promise }
  }

  async #room(signal: AbortSignal): Promise<void> {
    const ended = AbortSignal.any([signal, this.#scope.signal])
    for (;;) {
      ended.throwIfAborted()
      if (this.#entries.size + this.#submitting.size < limits.unansweredMax && this.#bytes < limits.unansweredBytesMax)
        return
      await orAborted(this.#gone.promise, ended)
    }
  }

  #add(entry: Entry): void {
    this.#entries.set(entry.unanswered.number, entry)
    this.#bytes += entry.body.length
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.unanswered.number)
    this.#bytes -= entry.body.length
    this.#gone.resolve()
    this.#gone = Promise.withResolvers()
  }

  /** Asks for the oldest of each conversation. */
  #pump(): void {
    const wire = this.#wire
    if (wire === undefined || this.#scope.signal.aborted) return
    const busy = new Set<string>()
    const held = new Set<string>()
    for (const entry of this.#entries.values()) {
      if (busy.size === protocol.outstandingMax) return
      if (entry.state === 'settled' || busy.has(entry.lane)) continue
      if (entry.stale !== undefined) {
        held.add(entry.lane)
        continue
      }
      if (held.has(entry.lane) && entry.unanswered.operation === 'send') continue
      busy.add(entry.lane)
      if (entry.state === 'idle') this.#track(this.#ask(entry, wire))
    }
  }

  #track(asking: Promise<void>): void {
    this.#asking.add(asking)
    void asking.finally(() => this.#asking.delete(asking))
  }

  async #ask(entry: Entry, wire: Wire): Promise<void> {
    entry.state = 'asked'
    entry.attempts += 1
    try {
      const { signal } = this.#scope
      const accepted = await wire.requestEncoded(entry.unanswered.operation, entry.body, { signal })
      await this.#settle(entry, { kind: 'accepted', accepted })
    } catch (error) {
      await this.#refused(entry, wire, error)
    }
  }

  async #refused(entry: Entry, wire: Wire, error: unknown): Promise<void> {
    try {
      if (this.#scope.signal.aborted) return
      if (!(error instanceof RefusedError)) return this.#lost(entry, wire, error)
      if (error.reason === 'id-reused')
        throw new ClientError('clone', 'the server has other bytes under a send number of this device', {
          cause: error,
        })
      if (error.retry === 'later') return this.#cool(entry, error)
      if (error.retry === 'never') return await this.#settle(entry, { kind: 'refused', error })
      await this.#reseal(entry, error)
    } catch (why) {
      this.#options.fail(why instanceof Error ? why : new Error(String(why)))
    }
  }

  /** The next session asks again, unless it has done so already. */
  #lost(entry: Entry, wire: Wire, error: unknown): void {
    if (!(error instanceof ClientError) || (error.reason !== 'lost' && error.reason !== 'ended')) throw error
    if (this.#wire !== wire) return
    this.#wire = undefined
    entry.state = 'idle'
  }

  #cool(entry: Entry, error: RefusedError): void {
    const { clock, random } = this.#options
    entry.state = 'cooling'
    entry.timer = clock.after(backoffMs(entry.attempts, error, fraction(random)), () => {
      entry.state = 'idle'
      entry.stale = undefined
      this.#pump()
    })
  }

  /** Something has come that sends may have waited for: those that have to be sealed again need not wait any longer. */
  moved(): void {
    for (const entry of this.#entries.values()) {
      const { stale } = entry
      if (stale === undefined || entry.state !== 'cooling') continue
      entry.timer?.[Symbol.dispose]()
      entry.stale = undefined
      this.#track(this.#again(entry, stale))
    }
  }

  async #again(entry: Entry, stale: RefusedError): Promise<void> {
    try {
      await this.#reseal(entry, stale)
    } catch (why) {
      this.#options.fail(why instanceof Error ? why : new Error(String(why)))
    }
  }

  /** The answer is stored, in one step with the end of the entry. */
  async #settle(entry: Entry, outcome: Outcome): Promise<void> {
    const { sender, stored, committer } = this.#options
    const { unanswered } = entry
    const { number } = unanswered
    entry.state = 'settled'
    this.#pump()
    await committer.run(async (store) => ({
      changes: [dropRow(outboxRow, number), ...(await sender.answered(unanswered, outcome, store))],
      result: undefined,
    }))
    this.#drop(entry)
    stored()
    entry.outcome.resolve(outcome)
  }

  /** The content under the same place, for what the conversation is now. */
  async #reseal(entry: Entry, error: RefusedError): Promise<void> {
    const { sender, committer } = this.#options
    const { unanswered } = entry
    entry.state = 'resealing'
    const resealed = await committer.run<Entry | 'later' | undefined>(async (store) => {
      const draft = await sender.reseal(unanswered, error, store)
      if (draft === undefined || draft === 'later') return { changes: [], result: draft }
      const next = entryOf(draft.sealed.operation, bodyOf(draft.sealed, unanswered))
      return { changes: [rowOf(next), ...draft.changes], result: next }
    })
    if (resealed === undefined) return this.#settle(entry, { kind: 'refused', error })
    if (resealed === 'later') {
      entry.stale = error
      this.#cool(entry, error)
      return this.#pump()
    }
    const again: Entry = { ...resealed, outcome: entry.outcome, attempts: entry.attempts }
    this.#bytes += again.body.length - entry.body.length
    this.#entries.set(unanswered.number, again) // keeps its place in the order
    // a server that never is content must not make us seal without end
    if (again.attempts > 1) this.#cool(again, error)
    else this.#pump()
  }
}

function entryOf(operation: Sealed['operation'], body: Uint8Array): Entry {
  const request = operation === 'send' ? decode(Send, body) : decode(Commit, body)
  const { conversation, generation, id, number, epoch } = request
  const outcome = Promise.withResolvers<Outcome>()
  outcome.promise.catch(() => {}) // who does not wait for it need not hear why it never came
  return {
    unanswered: { operation, conversation, generation, id, number, epoch },
    lane: toBase64url(conversation),
    body,
    outcome,
    state: 'idle',
    attempts: 0,
    timer: undefined,
    stale: undefined,
  }
}

function storedEntry(value: Uint8Array): Entry {
  const { operation, body } = readRow(outboxRow, value)
  try {
    return entryOf(operation, body)
  } catch (cause) {
    throw new ClientError('damaged', 'the outbox holds a send that is none', { cause })
  }
}

function bodyOf({ operation, request }: Sealed, { id, number }: Place): Uint8Array {
  return operation === 'send' ? encode(Send, { ...request, id, number }) : encode(Commit, { ...request, id, number })
}

function rowOf({ unanswered: { operation, number }, body }: Entry): Change {
  return putRow(outboxRow, number, { operation, body })
}
