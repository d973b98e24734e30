import assert from 'node:assert'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { type Conversation, encodeConversation, firstState, isOnRoster, keyOf } from './conversation.ts'
import { ServerDeliveries } from './deliveries.ts'
import { Ledgers } from './ledgers.ts'
import { idInUse, memberFrom } from './membership.ts'
import { membershipChanges, membershipObject } from './memberships.ts'
import { numberKey } from './numbers.ts'
import type { Parts } from './parts.ts'
import { Recent } from './recent.ts'
import { Reports } from './reports.ts'
import { Retention } from './retention.ts'
import type {
  Account,
  Clock,
  Contacts,
  Conversations,
  Device,
  Directory,
  Numbers,
  Services,
  Sessions,
} from './services.ts'
import { Shelf } from './shelf.ts'
import { Strangers } from './strangers.ts'
import { type Schedule, Trimming } from './trimming.ts'
import { Turns } from './turns.ts'

/** Registrations that may be under way at the same time. */
const foundedMax = 10_000

export interface ConversationsOptions {
  readonly archive: Archive
  readonly directory: Directory
  readonly contacts: Contacts
  readonly numbers: Numbers
  readonly sessions: Sessions
  readonly clock: Clock
  readonly schedule: Schedule
  /** What may stay in memory; less where a test wants conversations to go. */
  readonly shelfWeightMax?: number
}

/** Conversations and what is delivered of them, on one archive. */
export interface OpenConversations extends Disposable {
  readonly conversations: ServerConversations
  readonly deliveries: ServerDeliveries
  readonly retention: Retention
}

export async function openConversations(options: ConversationsOptions): Promise<OpenConversations> {
  const { archive, clock, directory, schedule } = options
  const ledgers = new Ledgers(archive, directory)
  const shelf = new Shelf(archive, ledgers, options.shelfWeightMax)
  const passedBy = (device: number): number | undefined => deliveries.passedBy(device)
  const trimming = new Trimming({ archive, directory, shelf, ledgers, schedule, passedBy })
  const deliveries = new ServerDeliveries({ archive, shelf, ledgers, trimming })
  directory.onChange((_, delisted) => {
    for (const { number } of delisted) void trimming.dropped(number)
  })
  const conversations = new ServerConversations({
    ...options,
    shelf,
    ledgers,
    trimming,
    deliveries,
    strangers: new Strangers(options),
    reports: new Reports(),
    founded: new Recent(foundedMax),
    turns: new Turns(),
  })
  const retention = await Retention.open({ archive, shelf, ledgers, trimming, clock, schedule })
  return {
    conversations,
    deliveries,
    retention,
    [Symbol.dispose]() {
      trimming[Symbol.dispose]()
      retention[Symbol.dispose]()
    },
  }
}

/** Who talks with whom. Protocol 3 §6. */
class ServerConversations implements Conversations {
  readonly parts: Parts

  constructor(parts: Parts) {
    this.parts = parts
  }

  founding(account: Account, device: Device, id: ConversationId): readonly ObjectChange[] {
    const { founded, numbers, shelf } = this.parts
    const founder = founded.get(keyOf(id))
    if (shelf.peek(id) !== undefined || (founder !== undefined && founder !== keyOf(account.id))) throw idInUse()
    founded.set(keyOf(id), keyOf(account.id))
    const { number, change } = numbers.next('conversation')
    const state = firstState(memberFrom(device), { kind: 'own-devices', pair: [account.number] })
    return [
      change,
      { kind: 'conversation', key: id, value: encodeConversation({ id, number }, state, 0) },
      { kind: 'conversationNumber', key: numberKey(number), value: id },
      ...membershipChanges(id, undefined, state).map((each) => membershipObject({ number }, each)),
    ]
  }

  async acquaintances(of: Account): Promise<readonly Account[]> {
    const numbers = new Set<number>()
    for await (const { durable } of this.#sharedBy(of))
      for (const { account } of durable?.roster ?? [])
        if (durable !== undefined && isOnRoster(durable, account)) numbers.add(account)
    numbers.delete(of.number)
    const { directory } = this.parts
    const accounts = await Promise.all(Array.from(numbers, (number) => directory.accountByNumber(number)))
    return accounts.filter((account) => account !== undefined)
  }

  async areAcquainted(one: Account, other: Account): Promise<boolean> {
    for await (const { durable } of this.#sharedBy(one, other))
      if (durable !== undefined && isOnRoster(durable, other.number)) return true
    return false
  }

  async storedBytes(of: Account): Promise<number> {
    return (await this.parts.ledgers.of(of)).storedBytes
  }

  /** The conversations on whose roster an account is, which another one has something to do with as well. */
  async *#sharedBy(one: Account, other: Account = one): AsyncGenerator<Conversation> {
    const { ledgers, shelf } = this.parts
    const mine = await ledgers.of(one)
    const theirs = await ledgers.of(other)
    for (const [number, id] of [...mine.conversations()]) {
      const conversation = theirs.has(number) ? await shelf.find(id) : undefined
      const durable = conversation?.durable
      if (conversation !== undefined && durable !== undefined && isOnRoster(durable, one.number)) yield conversation
    }
  }
}

/** What the operations on conversations work with. */
export function partsOf({ conversations }: Services): Parts {
  assert(conversations instanceof ServerConversations, 'a server has these conversations')
  return conversations.parts
}
