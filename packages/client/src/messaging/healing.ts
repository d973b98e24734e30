import { type Applied, view } from '@messageu/e2ee/conversation'
import { type ConversationId, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { fraction } from '../clock.ts'
import { ClientError, type ClientReason } from '../errors.ts'
import { commit } from './commits-out.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import { asPublished, type ConversationRow } from './rows.ts'

/** New keys for the own leaf. CONVERSATIONS D 5 */
export async function update(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  await commit(desk, conversation, async () => ({ wish: { kind: 'update' }, accounts: [] }), wait)
}

/** The same instead of the keys that the row tells of: nothing if others have replaced them meanwhile. */
async function replaceKeys(desk: Desk, { conversation, updatedAt }: ConversationRow, wait: Wait): Promise<void> {
  const wish = { kind: 'update' } as const
  await commit(
    desk,
    conversation,
    async ({ row }) => (row.updatedAt === updatedAt ? { wish, accounts: [] } : undefined),
    wait,
  )
}

/** What keeps an update from being made now, and is no reason not to send. */
const passing: ReadonlySet<ClientReason> = new Set(['contested', 'lost', 'forbidden'])

/** The same before a message, which neither waits for it for long nor fails with it: false if it is to be tried again. */
export async function replacedKeysInTime(desk: Desk, row: ConversationRow, { signal }: Wait): Promise<boolean> {
  const over = new AbortController()
  using _timer = desk.clock.after(limits.updateWaitMs, () => over.abort())
  try {
    await replaceKeys(desk, row, { signal: AbortSignal.any([signal, over.signal]) })
    return true
  } catch (error) {
    signal.throwIfAborted()
    const isPassing = error instanceof RefusedError || (error instanceof ClientError && passing.has(error.reason))
    if (isPassing || over.signal.aborted) return false
    throw error
  }
}

/** Whether the keys of the own leaf are to be replaced before one more message. CONVERSATIONS D 5 */
export function isUpdateDue(
  row: ConversationRow,
  { sinceUpdate, nowMs }: { sinceUpdate: number; nowMs: number },
): boolean {
  return !hasOwnKeys(row) || sinceUpdate >= limits.messagesPerUpdate || nowMs - row.updatedAt > limits.updateMs
}

/** Whether the own leaf has other keys than those that waited at the server for whoever brought this device in. */
function hasOwnKeys({ updatedAt }: ConversationRow): boolean {
  return updatedAt !== asPublished
}

/** Commits without a path, which the engine makes of Adds and of rules, leave the keys of the own leaf as they were. */
export function bringsKeys(change: Extract<Applied, { kind: 'applied' }>['change']): boolean {
  return change === 'update' || change === 'remove' || change === 'rejoin'
}

/** Gives this device keys of its own where it was brought in and has said nothing since. CONVERSATIONS D 5 */
export class Newcomer {
  readonly #desk: Desk
  /** When, by the clock that never jumps: many who come at the same time do not all commit at the same time. */
  readonly #dueMs = new Map<string, number>()

  constructor(desk: Desk) {
    this.#desk = desk
  }

  /** Milliseconds until it is to be looked at again, if it is. */
  async tend(conversation: ConversationId, wait: Wait): Promise<number | undefined> {
    const name = toBase64url(conversation)
    const row = await rowOf(this.#desk, conversation)
    if (row?.standing.kind !== 'active' || hasOwnKeys(row)) {
      this.#dueMs.delete(name)
      return undefined
    }
    const now = this.#desk.clock.monotonicMs()
    const dueMs = this.#dueMs.get(name) ?? Math.ceil(now + fraction(this.#desk.random) * (await this.#spanMs(row)))
    this.#dueMs.set(name, dueMs)
    if (dueMs > now) return dueMs - now
    this.#dueMs.delete(name) // if it fails, it is for a time that is thrown anew
    await replaceKeys(this.#desk, row, wait)
    return undefined
  }

  async #spanMs({ conversation }: ConversationRow): Promise<number> {
    const state = await look(this.#desk).state(conversation)
    const devices = state === undefined ? 0 : view(state).members.length
    return (limits.newcomerDelayMs * devices) / limits.newcomersPerDelay
  }
}
