import { type Content, view } from '@messageu/e2ee/conversation'
import { type AccountId, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'
import type { Outcome, Place } from '../outbox.ts'
import { orAborted } from '../waiting.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { gather } from './gathering.ts'
import { isUpdateDue, replacedKeysInTime } from './healing.ts'
import { messagingLimits as limits } from './limits.ts'
import { compareEpoch, mend } from './mending.ts'
import type { ConversationRow } from './rows.ts'
import { draftMessage } from './sender.ts'
import { perform, wanted } from './tending.ts'
import type { Work } from './work.ts'

/** Sends messages of this device, once each conversation is as it has to be for that. */
export class Sending {
  readonly #desk: Desk
  /** Conversations whose members' lists were compared in this session, at this epoch. */
  readonly #compared = new Map<string, number>()
  /** Messages of this session since the last update of the own leaf. */
  readonly #posted = new Map<string, { readonly updatedAt: number; readonly count: number }>()
  /** Before then no further update is tried, by the clock that never jumps. */
  readonly #updatableMs = new Map<string, number>()
  /** When all that was posted before has had its turn, by conversation. Never rejects. */
  readonly #turns = new Map<string, Promise<void>>()

  constructor(desk: Desk) {
    this.#desk = desk
  }

  /** Lists have changed: before the next message they are compared again. */
  doubt(): void {
    this.#compared.clear()
  }

  /**
   * Resolves when the message is stored, in one step with what `also` writes; its outcome when it is answered. What `also`
   * throws keeps it from being posted.
   */
  async post(
    conversation: ConversationId,
    content: Content,
    wait: Wait,
    also: (work: Work) => Promise<void> = async () => {},
  ): Promise<{ place: Place; outcome: Promise<Outcome> }> {
    const desk = this.#desk
    for (;;) {
      await this.#inTurn(conversation, wait, () => this.#ready(conversation, wait))
      try {
        return await desk.session.submit(async (place, rows) => {
          const work = look(desk, rows)
          await also(work)
          const draft = await draftMessage(work, conversation, { place, content })
          if (draft === undefined) throw new NotReady()
          return draft
        }, wait)
      } catch (error) {
        if (!(error instanceof NotReady)) throw error
      }
    }
  }

  /** One after the other in each conversation: what is posted at the same time keeps its order. */
  async #inTurn(conversation: ConversationId, { signal }: Wait, work: () => Promise<void>): Promise<void> {
    const name = toBase64url(conversation)
    const before = this.#turns.get(name) ?? Promise.resolve()
    const turn = orAborted(before, signal).then(work)
    const over = Promise.allSettled([before, turn]).then(() => {
      if (this.#turns.get(name) === over) this.#turns.delete(name)
    })
    this.#turns.set(name, over)
    await turn
  }

  /** What this device loses its place by while it gets ready is mended, and it gets ready again. */
  async #ready(conversation: ConversationId, wait: Wait): Promise<void> {
    for (;;) {
      const row = await activeRow(this.#desk, conversation, wait)
      try {
        return await this.#prepare(row, wait)
      } catch (error) {
        if (!(error instanceof ClientError) || error.reason !== 'not-a-member') throw error
        if ((await rowOf(this.#desk, conversation))?.standing.kind === 'active') throw error
      }
    }
  }

  /**
   * Nothing is sealed for a device that its account has taken off, nor by keys that are older than they may be.
   * CONVERSATIONS C 4, D 5
   */
  async #prepare(row: ConversationRow, wait: Wait): Promise<void> {
    const desk = this.#desk
    const { conversation } = row
    if (row.isUnseen)
      throw new ClientError(
        'unseen',
        'this device has come back without its memory, and nobody has looked at who is here',
      )
    await gather(desk, row, wait)
    const name = toBase64url(conversation)
    if (this.#compared.get(name) !== row.epoch) {
      await compareLists(desk, conversation, wait)
      const { delisted, departed } = await wanted(desk, conversation)
      await perform(desk, conversation, { delisted, departed, missing: [] }, wait)
      this.#compared.set(name, (await rowOf(desk, conversation))?.epoch ?? 0)
    }
    if (isUpdateDue(row, { sinceUpdate: this.#sinceUpdate(row), nowMs: desk.clock.nowMs() }))
      await this.#replaceKeys(row, wait)
  }

  /** Where that has just failed, messages go out without for a while. */
  async #replaceKeys(row: ConversationRow, wait: Wait): Promise<void> {
    const { clock } = this.#desk
    const name = toBase64url(row.conversation)
    if (clock.monotonicMs() < (this.#updatableMs.get(name) ?? 0)) return
    this.#updatableMs.delete(name)
    if (await replacedKeysInTime(this.#desk, row, wait)) this.#posted.delete(name)
    else this.#updatableMs.set(name, clock.monotonicMs() + limits.updateRetryMs)
  }

  /** Messages since the last update, those included that have no answer yet. The one to come is counted. */
  #sinceUpdate({ conversation, updatedAt, sentSinceUpdate }: ConversationRow): number {
    const name = toBase64url(conversation)
    const before = this.#posted.get(name)
    const count = before?.updatedAt === updatedAt ? Math.max(before.count, sentSinceUpdate) : sentSinceUpdate
    this.#posted.set(name, { updatedAt, count: count + 1 })
    return count
  }
}

/** It was begun anew since it was ready, or this device has lost its place. Never leaves this file. */
class NotReady extends Error {}

/** Whatever keeps this device from its place is mended first, as far as it can be. */
async function activeRow(desk: Desk, conversation: ConversationId, wait: Wait): Promise<ConversationRow> {
  const before = await rowOf(desk, conversation)
  if (before?.doubt !== undefined) await compareEpoch(desk, conversation, wait)
  const row = await rowOf(desk, conversation)
  if (row?.doubt?.placelessSince !== undefined)
    throw new ClientError('not-a-member', 'the server knows of no place for this account in the conversation')
  switch (row?.standing.kind) {
    case 'active':
      return row
    case 'request':
      throw new ClientError('not-accepted', 'a stranger has begun this conversation')
    case 'announced':
    case 'waiting':
    case 'stuck': {
      await mend(desk, conversation, wait)
      const mended = await rowOf(desk, conversation)
      if (mended?.standing.kind === 'active') return mended
      throw new ClientError('not-a-member', 'this device has lost its place, and cannot take it again yet')
    }
    case 'left':
      throw new ClientError('not-a-member', 'this account has left the conversation')
    case 'removed':
    case 'withdrawn':
    case undefined:
      throw new ClientError('not-a-member', 'this device has no place in the conversation')
  }
}

/** Reads the present list of everybody here. */
async function compareLists(desk: Desk, conversation: ConversationId, { signal }: Wait): Promise<void> {
  const state = await look(desk).state(conversation)
  if (state === undefined) return
  const accounts: readonly AccountId[] = view(state).lists.map(({ account }) => account)
  const { asker } = desk.session
  await Promise.all(accounts.map((account) => desk.tools.lists.refresh(desk.store, account, { asker, signal })))
}
