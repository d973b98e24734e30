import { signingKey } from '@messageu/e2ee'
import { proveAuthorship } from '@messageu/e2ee/conversation'
import type { ConversationId, SendId } from '@messageu/protocol/v3'
import { readAlarms } from '../alarms.ts'
import type { Clock } from '../clock.ts'
import { ClientError } from '../errors.ts'
import { type AccountRow, type Alarm, getRow, listRow } from '../rows.ts'
import { whoAmI } from '../session.ts'
import type { Store } from '../store.ts'
import { announcedIn } from './announcing.ts'
import { history } from './arrivals.ts'
import { authoredIn } from './authored.ts'
import { type Kept, look, rowOf } from './desk.ts'
import { conversationWith, describe, type Known, knownConversations } from './finding.ts'
import type { Item } from './items.ts'
import { Lists } from './lists.ts'
import type { Tools } from './work.ts'

/** What a device has of its conversations. All of it is in its store: no server is asked. */
export class Reader {
  readonly account: AccountRow
  readonly #kept: Kept

  constructor(account: AccountRow, kept: Kept) {
    this.account = account
    this.#kept = kept
  }

  /** Throws `not-registered`. */
  static async open({ store, clock }: { store: Store; clock: Clock }): Promise<Reader> {
    const account = await registeredIn(store)
    const { account: own, serverKey } = account.identity
    const tools: Tools = {
      me: await meOf(account),
      lists: new Lists({ own, serverKey, clock, told: () => {} }),
      nowMs: () => clock.nowMs(),
      touched: () => {},
      written: () => {},
    }
    return new Reader(account, { store, tools })
  }

  /** The newest `limit` items of a conversation, the oldest first; with `before`, those in front of that place. */
  async history(
    who: string,
    { limit = 50, before }: { limit?: number | undefined; before?: number | undefined } = {},
  ): Promise<readonly Item[]> {
    return history(this.#kept, await conversationWith(this.#kept, who), { limit, before })
  }

  /** Bytes that convince a third party of who wrote a message, and what. CONVERSATIONS C 8 */
  async prove(who: string, id: SendId): Promise<Uint8Array> {
    const { store } = this.#kept
    const row = await rowOf(this.#kept, await conversationWith(this.#kept, who))
    const authored = row && (await authoredIn(store, row, id))
    const list = authored && (await getRow(store, listRow, authored.account))
    if (authored === undefined || list === undefined)
      throw new ClientError('unknown-conversation', 'there is no such message in this conversation')
    return proveAuthorship(authored.authored, list.entries)
  }

  conversations(): AsyncGenerator<Known> {
    return knownConversations(this.#kept)
  }

  /** The conversation that WHO stands for, among those that are there. */
  async conversation(who: string): Promise<Known> {
    const known = await this.describe(await conversationWith(this.#kept, who))
    if (known === undefined) throw new ClientError('unknown-conversation', 'there is no such conversation here')
    return known
  }

  async describe(conversation: ConversationId): Promise<Known | undefined> {
    const row = await rowOf(this.#kept, conversation)
    return row && describe(this.#kept, row)
  }

  /** How many conversations this device was told of, in which it has not found its place: nothing proves them yet. */
  async announced(): Promise<number> {
    return (await announcedIn(look(this.#kept))).length
  }

  alarms(): Promise<readonly Alarm[]> {
    return readAlarms(this.#kept.store)
  }
}

/** The account of a profile. Throws `not-registered`. */
export async function registeredIn(store: Store): Promise<AccountRow> {
  const account = await whoAmI(store)
  if (account === undefined) throw new ClientError('not-registered', 'this profile has no account yet')
  return account
}

export async function meOf({ identity }: AccountRow): Promise<Tools['me']> {
  const { account, device, signatureSeed, requestSeed, name, serverKey } = identity
  return { self: { account, device, signatureSeed, requestKey: await signingKey(requestSeed) }, name, serverKey }
}
