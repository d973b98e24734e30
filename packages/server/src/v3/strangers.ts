import type { ConversationId } from '@messageu/protocol/v3'
import type { Conversation, ConversationState } from './conversation.ts'
import { notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import { personOf } from './person.ts'
import type { Account } from './services.ts'

/** What others think of somebody who sends in a conversation. */
export interface Welcomeness {
  readonly isBlocked: boolean
  /** Who has not accepted the sender, and will get what is sent. */
  readonly strangers: readonly Account[]
}

const welcome: Welcomeness = { isBlocked: false, strangers: [] }

/** Accounts in a group to whom its creator is a stranger; and for which roster that was found. */
interface Wary {
  readonly roster: ConversationState['roster']
  accounts: readonly Account[]
}

/**
 * What stands between a sender and those who do not know it. Protocol 3 §8.
 *
 * In a conversation of two it is the other one. In a group nobody is asked who has accepted whoever created it: there
 * all members may send. Who has accepted the creator once is not asked again until the roster changes.
 */
export class Strangers {
  readonly #parts: Pick<Parts, 'directory' | 'contacts' | 'clock' | 'sessions'>
  readonly #wary = new WeakMap<Conversation, Wary>()

  constructor(parts: Pick<Parts, 'directory' | 'contacts' | 'clock' | 'sessions'>) {
    this.#parts = parts
  }

  /** Undefined where nobody has to be asked. Without a promise where everything is known. */
  to(
    conversation: Conversation,
    sender: Account,
    what: 'message' | 'commit',
  ): Promise<Welcomeness> | Welcomeness | undefined {
    switch (conversation.state.kind) {
      case 'own-devices':
      case 'self':
        return undefined
      case 'direct':
        return this.#peekPair(conversation.state, sender) ?? this.#inPair(conversation.state, sender, what)
      case 'group': {
        const wary = this.#wary.get(conversation)
        const isKnown = wary !== undefined && wary.roster === conversation.state.roster
        return isKnown && wary.accounts.length === 0 ? undefined : this.#inGroup(conversation, sender)
      }
    }
  }

  /** Counts what is sent; `limited` above what strangers may. */
  async charge(sender: Account, { strangers }: Welcomeness, bytes: number): Promise<void> {
    for (const stranger of strangers) await this.#parts.contacts.chargeStranger(sender, stranger, bytes)
  }

  /** An account is told of somebody it does not know, who has begun something with it. */
  async introduce(by: Account, to: Account, conversation: ConversationId): Promise<void> {
    const { contacts, clock, sessions } = this.#parts
    const { id: account, name } = by
    await contacts.noteRequest(by, to, { account, name, conversation, at: clock.nowMs() })
    for (const session of sessions.ofAccount(to)) session.notice({ kind: 'request', body: personOf(by) })
  }

  /** For two who are known to have accepted each other, which is what most are. */
  #peekPair({ pair }: ConversationState, sender: Account): Welcomeness | undefined {
    const { directory, contacts } = this.#parts
    const number = pair.find((each) => each !== sender.number)
    const other = number === undefined ? undefined : directory.peekAccount(number)
    if (other === undefined) return undefined
    const areFriends =
      contacts.peekStanding(sender, other) === 'accepted' && contacts.peekStanding(other, sender) === 'accepted'
    return areFriends ? welcome : undefined
  }

  async #inPair(
    { pair, roster }: ConversationState,
    sender: Account,
    what: 'message' | 'commit',
  ): Promise<Welcomeness> {
    const { directory, contacts } = this.#parts
    const number = pair.find((each) => each !== sender.number)
    const other = number === undefined ? undefined : await directory.accountByNumber(number)
    if (other === undefined) return welcome
    const standing = await contacts.standing(sender, other)
    // whoever writes to somebody has accepted them
    if (what === 'message' && (await contacts.standing(other, sender)) === 'stranger')
      await contacts.judge(sender, other, 'accept')
    const isThere = roster.some(({ account }) => account === number)
    return { isBlocked: standing === 'blocked', strangers: standing === 'stranger' && isThere ? [other] : [] }
  }

  async #inGroup(conversation: Conversation, sender: Account): Promise<Welcomeness> {
    const { directory, contacts } = this.#parts
    const { roster, creator: creatorNumber } = conversation.state
    const creator = await directory.accountByNumber(creatorNumber)
    if (creator === undefined) throw notPermitted('the account that created the group is not there')
    const known = this.#wary.get(conversation)
    const candidates = known?.roster === roster ? known.accounts : await this.#accountsOn(roster)
    const wary: Account[] = []
    for (const account of candidates)
      if (account !== creator && (await contacts.standing(creator, account)) !== 'accepted') wary.push(account)
    this.#wary.set(conversation, { roster, accounts: wary })
    const strangers: Account[] = []
    for (const account of wary)
      if (account !== sender && (await contacts.standing(sender, account)) !== 'accepted') strangers.push(account)
    return { isBlocked: false, strangers }
  }

  async #accountsOn(roster: ConversationState['roster']): Promise<Account[]> {
    const numbers = new Set(roster.map(({ account }) => account))
    const accounts = await Promise.all(Array.from(numbers, (number) => this.#parts.directory.accountByNumber(number)))
    return accounts.filter((account) => account !== undefined)
  }
}
