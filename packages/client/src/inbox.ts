import { type Delivery, type Hello, type Incarnation, RefusedError, type SessionOpened } from '@messageu/protocol/v3'
import type { Asker } from './asker.ts'
import { sameBytes } from './bytes.ts'
import type { Committer } from './committer.ts'
import { badAnswer, ClientError, isLoss } from './errors.ts'
import { limits } from './limits.ts'
import { deliveryRow, getRow, progressKeys, putRow } from './rows.ts'
import type { Change, RowStore, Store } from './store.ts'
import type { Wire } from './wire.ts'

/** Whoever knows what is in the payloads. */
export interface Receiver {
  /**
   * What to store of these deliveries, which come in order. It is stored in one step with the place up to which they
   * were received: what was stored once never comes here again. May be called again for the same ones before that, and
   * has no effect but what it returns. What it has to ask of the server it asks in the session that has delivered; what
   * is lost with that (`lost`, `ended`) comes again in the next one.
   */
  receive(deliveries: readonly Delivery[], asker: Asker, store: RowStore): Promise<readonly Change[]>
  /** The server was restored from a copy and counts anew: what to store before anything of it is received. */
  restored?(store: RowStore, opened: Reopened): Promise<readonly Change[]>
}

/** The first session in another incarnation of the server. */
export type Reopened = SessionOpened & Pick<Hello, 'incarnation'>

export interface InboxOptions {
  readonly store: Store
  /** Without one nothing is asked for: everything stays at the server. */
  readonly receiver: Receiver | undefined
  readonly committer: Committer
  /** Something was stored. */
  readonly stored: () => void
  /** Receiving cannot go on: the store or the receiver failed. */
  readonly fail: (why: Error) => void
}

/**
 * What the server delivers, up to the credit that it has. Stored first, acknowledged then, in the order of positions:
 * after a crash between the two it comes again, and is recognised by its position. Protocol 3 §7.
 */
export class Inbox {
  readonly #options: InboxOptions
  #incarnation: Incarnation | undefined
  /** Everything up to here is stored. */
  #through = 0
  #wire: Wire | undefined
  /** Delivered in this session, and not yet stored. */
  #pending: Delivery[] = []
  /** The newest that this session has delivered, or that the server knows to be acknowledged. */
  #delivered = 0
  #acknowledged = 0
  #credit = { messages: 0, bytes: 0 }
  /** Taken from the credit since it was last renewed. */
  #spent = { messages: 0, bytes: 0 }
  #work: Promise<void> | undefined
  #isAcknowledging = false

  private constructor(options: InboxOptions) {
    this.#options = options
  }

  static async load(options: InboxOptions): Promise<Inbox> {
    const inbox = new Inbox(options)
    const row = await getRow(options.store, deliveryRow, progressKeys.delivery)
    inbox.#incarnation = row?.incarnation
    inbox.#through = row?.through ?? 0
    return inbox
  }

  /** Everything up to this position of the server is stored. */
  get through(): number {
    return this.#through
  }

  /**
   * Where delivery goes on. A server that was restored counts anew: what was received before says nothing about its
   * positions. Protocol 3 §3.1
   */
  async admit({ incarnation }: Hello, opened: SessionOpened): Promise<'same' | 'first' | 'restored'> {
    await this.idle()
    this.#pending = []
    const before = this.#incarnation
    if (before !== undefined && sameBytes(before, incarnation)) {
      const { position, acknowledged } = opened
      const known = Math.max(this.#through, acknowledged)
      if (position < known) throw badAnswer(`its newest position is ${position}, and ${known} was received before`)
      return 'same'
    }
    const row = putRow(deliveryRow, progressKeys.delivery, { incarnation, through: 0 })
    const { receiver, committer } = this.#options
    await committer.run(async (store) => {
      const changes =
        before === undefined ? [] : ((await receiver?.restored?.(store, { ...opened, incarnation })) ?? [])
      return { changes: [row, ...changes], result: undefined }
    })
    this.#incarnation = incarnation
    this.#through = 0
    return before === undefined ? 'first' : 'restored'
  }

  opened(wire: Wire, { acknowledged }: SessionOpened): void {
    this.#wire = wire
    this.#delivered = acknowledged
    this.#acknowledged = acknowledged
    this.#credit = { messages: 0, bytes: 0 }
    this.#spent = { messages: limits.windowMessages, bytes: limits.windowBytes }
    if (this.#options.receiver !== undefined) this.#renew(wire)
  }

  /** Resolves when nothing is being stored any more. */
  async idle(): Promise<void> {
    await this.#work
  }

  /** Throws for what no server may do: the session ends. */
  deliver(delivery: Delivery): void {
    const { position } = delivery
    const bytes = costOf(delivery)
    if (position <= this.#delivered) throw badAnswer(`position ${position} after position ${this.#delivered}`)
    if (this.#credit.messages < 1 || this.#credit.bytes < 1) throw badAnswer('it delivers more than its credit')
    this.#credit.messages -= 1
    this.#credit.bytes -= bytes
    this.#delivered = position
    this.#pending.push(delivery)
    this.#work ??= this.#receive()
  }

  async #receive(): Promise<void> {
    try {
      while (this.#pending.length > 0) await this.#store(nextBatch(this.#pending))
    } catch (error) {
      const isPassing = isLoss(error) || (error instanceof RefusedError && error.retry === 'later')
      if (isPassing) this.#giveUp(error)
      else this.#options.fail(error instanceof Error ? error : new Error(String(error)))
    } finally {
      this.#work = undefined
    }
  }

  /** What was not stored comes again in the next session. */
  #giveUp(error: unknown): void {
    this.#pending = []
    if (this.#wire !== undefined) dropOn(error, this.#wire)
  }

  async #store(batch: readonly Delivery[]): Promise<void> {
    const { receiver, committer, stored } = this.#options
    const incarnation = this.#incarnation
    const asker = this.#wire
    const fresh = batch.filter(({ position }) => position > this.#through)
    const through = fresh.at(-1)?.position
    if (through !== undefined && receiver !== undefined && incarnation !== undefined && asker !== undefined) {
      const row = putRow(deliveryRow, progressKeys.delivery, { incarnation, through })
      await committer.run(async (store) => {
        const changes = await receiver.receive(fresh, asker, store)
        return { changes: [...changes, row], result: undefined }
      })
      this.#through = through
      stored()
    }
    this.#pending.splice(0, batch.length)
    this.#spent.messages += batch.length
    this.#spent.bytes += batch.reduce((sum, delivery) => sum + costOf(delivery), 0)
    const wire = this.#wire
    if (wire === undefined) return
    void this.#acknowledge(wire)
    this.#renew(wire)
  }

  /** Several batches may be stored while one acknowledgement is under way: the next one stands for all of them. */
  async #acknowledge(wire: Wire): Promise<void> {
    if (this.#isAcknowledging) return
    this.#isAcknowledging = true
    try {
      for (;;) {
        // what was stored before this session is acknowledged when it has come again: only then the server has to know
        const through = Math.min(this.#through, this.#delivered)
        if (through <= this.#acknowledged || this.#wire !== wire) return
        await wire.request('acknowledge', { through }, { signal: never })
        this.#acknowledged = through
      }
    } catch (error) {
      dropOn(error, wire)
    } finally {
      this.#isAcknowledging = false
    }
  }

  /** Gives back what was taken, once that is half of it all. */
  #renew(wire: Wire): void {
    const { messages, bytes } = this.#spent
    if (messages < limits.windowMessages / 2 && bytes < limits.windowBytes / 2) return
    this.#spent = { messages: 0, bytes: 0 }
    this.#credit.messages += messages
    this.#credit.bytes += bytes
    wire.request('credit', { messages, bytes }, { signal: never }).catch((error: unknown) => dropOn(error, wire))
  }
}

const never = new AbortController().signal

/** What a delivery takes from the credit in bytes. Protocol 3 §7.2 */
function costOf({ sealed }: Delivery): number {
  return sealed.length
}

function nextBatch(pending: readonly Delivery[]): readonly Delivery[] {
  let bytes = 0
  const end = pending.findIndex((delivery, i) => {
    bytes += costOf(delivery)
    return i > 0 && (i === limits.batchMessagesMax || bytes > limits.batchBytesMax)
  })
  return pending.slice(0, end === -1 ? undefined : end)
}

/** A refusal of what every client may ask leaves nothing to go on with; a loss is known already. */
function dropOn(error: unknown, wire: Wire): void {
  if (error instanceof ClientError) return
  const { message, retryAfterMs } = error instanceof RefusedError ? error : badAnswer(String(error))
  wire.fail(new ClientError('lost', `delivery stopped: ${message}`, { cause: error, retryAfterMs }))
}
