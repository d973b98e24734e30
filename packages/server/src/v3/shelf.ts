import assert from 'node:assert'
import { decode, encode, u64 } from '@messageu/protocol'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Archive, ObjectChange, Step, Stepped, Told } from '../archive.ts'
import { messagesIn } from '../storage/stepsize.ts'
import {
  type Conversation,
  type ConversationState,
  decodeConversation,
  encodeConversation,
  keyOf,
  newConversation,
  open,
} from './conversation.ts'
import { handshakeKey } from './conversationkeys.ts'
import type { Ledgers } from './ledgers.ts'
import { sequenceIn } from './letters.ts'
import { membershipChanges, membershipObject } from './memberships.ts'
import { numberKey } from './numbers.ts'
import type { SendInPlace } from './sendinplace.ts'

/** Devices and their intervals in all conversations that are remembered; at times it is twice as much. */
const weightMax = 200_000

/**
 * Called with the positions of a step's messages when it is durable, before anything that became durable later: so that
 * sessions get messages in the order of their positions.
 */
type OnDurable = (positions: readonly number[]) => void

/** What a step does to a conversation. */
export interface Advance {
  readonly state: ConversationState
  readonly sequence: number
}

/**
 * The conversations that were used lately, as they are with every step that is under way. What is decided on them is
 * decided and called in one go; a step that fails takes back what it did, and whatever was built on it.
 */
export class Shelf {
  readonly #archive: Archive
  readonly #ledgers: Ledgers
  readonly #weightMax: number
  #young = new Map<string, Conversation>()
  #old = new Map<string, Conversation>()
  #weight = 0
  /** What was asked for last: a session that sends asks for the same one again and again. */
  #last: Conversation | undefined
  readonly #loading = new Map<string, Promise<Conversation | undefined>>()

  constructor(archive: Archive, ledgers: Ledgers, max: number = weightMax) {
    this.#archive = archive
    this.#ledgers = ledgers
    this.#weightMax = max
  }

  /** What is in memory. */
  peek(id: ConversationId): Conversation | undefined {
    const last = this.#last
    if (last !== undefined && isSame(last.id, id)) return last
    this.#last = this.#get(keyOf(id))
    return this.#last
  }

  /** The conversation of a send, if it is in memory. */
  peekFor(send: SendInPlace): Conversation | undefined {
    const last = this.#last
    return last !== undefined && send.isTo(last.id) ? last : this.peek(send.conversation)
  }

  /** Whether this is still the one object for its conversation: to be asked after every wait. */
  holds(conversation: Conversation): boolean {
    return this.#get(conversation.key) === conversation
  }

  async find(id: ConversationId): Promise<Conversation | undefined> {
    return this.peek(id) ?? (await this.#load(id))
  }

  async findByNumber(number: number): Promise<Conversation | undefined> {
    const id = await this.#archive.get('conversationNumber', numberKey(number))
    return id && (await this.find(id as ConversationId)) // written from an id
  }

  /** Begins a conversation. Its id must be free, and nothing may have been waited for since that was found. */
  begin(
    id: ConversationId,
    { number, change }: { number: number; change: ObjectChange },
    state: ConversationState,
    objects: readonly ObjectChange[],
  ): Promise<Stepped> {
    const conversation = newConversation(id, number, state, { durable: undefined, sequence: 0 })
    this.#put(conversation)
    const numbered: ObjectChange = { kind: 'conversationNumber', key: numberKey(number), value: id }
    const step = { objects: [change, numbered, ...objects] }
    return this.#advance(conversation, undefined, { state, sequence: 0 }, step, () => {})
  }

  /** Takes a conversation to its next state. */
  change(
    conversation: Conversation,
    next: Advance,
    step: Step = {},
    onDurable: OnDurable = () => {},
  ): Promise<Stepped> {
    return this.#advance(conversation, conversation.state, next, step, onDurable)
  }

  /** Puts messages at the next sequences of a conversation: its state stays. */
  append(conversation: Conversation, step: Step, told: Told): void {
    assert(this.holds(conversation), 'nothing was waited for since the decision')
    const appending = new Appending(this, conversation, told)
    conversation.sequence += messagesIn(step)
    conversation.underWay += 1
    this.#archive.take(step, appending)
  }

  appended({ conversation, sequence }: Appending, count: number): void {
    conversation.underWay -= 1
    conversation.durableSequence = sequence + count
  }

  notAppended({ conversation, state, sequence, failures }: Appending): void {
    conversation.underWay -= 1
    this.#undo(conversation, state, sequence, failures)
  }

  /** Does something about what lies in the boxes, while the conversation itself stays as it is. */
  async maintain(conversation: Conversation, step: Step): Promise<void> {
    assert(this.holds(conversation), 'nothing was waited for since the decision')
    conversation.underWay += 1 // it must not be read from the archive while its boxes change
    try {
      await this.#archive.step(step)
    } finally {
      conversation.underWay -= 1
    }
  }

  #advance(
    conversation: Conversation,
    before: ConversationState | undefined,
    { state, sequence }: Advance,
    { objects = [], ...step }: Step,
    onDurable: OnDurable,
  ): Promise<Stepped> {
    assert(this.holds(conversation), 'nothing was waited for since the decision')
    const { id, sequence: sequenceBefore, failures } = conversation
    const memberships = membershipChanges(id, before, state)
    conversation.state = state
    conversation.sequence = sequence
    conversation.underWay += 1
    this.#ledgers.apply(conversation.number, memberships, 'after')
    const whole: Step = {
      ...step,
      objects: [
        ...objects,
        { kind: 'conversation', key: id, value: encodeConversation(conversation, state, sequence) },
        ...memberships.map((change) => membershipObject(conversation, change)),
      ],
    }
    const done = new Promise<Stepped>((resolve, reject) =>
      this.#archive.take(whole, {
        durable: (stepped) => {
          conversation.underWay -= 1
          conversation.durable = state
          conversation.durableSequence = sequence
          this.#noteEnds(state, sequence, stepped.positions.at(-1))
          this.#ledgers.apply(conversation.number, memberships, 'after')
          onDurable(stepped.positions)
          resolve(stepped)
        },
        refused: (error) => {
          conversation.underWay -= 1
          this.#undo(conversation, before, sequenceBefore, failures)
          reject(error)
        },
      }),
    )
    conversation.settled = done.then(
      () => undefined,
      () => undefined,
    )
    return done
  }

  /** Intervals that ended by a step that is durable now: everything that they may read is placed. */
  #noteEnds({ intervals }: ConversationState, sequence: number, position: number = this.#archive.position): void {
    for (const each of intervals) if (each.through === sequence && each.until === open) each.until = position
  }

  /** Steps fail with all that were built on them: the first to be told takes everything back. */
  #undo(conversation: Conversation, before: ConversationState | undefined, sequence: number, failures: number): void {
    if (conversation.failures !== failures) return
    conversation.failures += 1
    const { id, number, state } = conversation
    this.#ledgers.apply(number, membershipChanges(id, before, state), 'before')
    conversation.sequence = sequence
    if (before !== undefined) {
      conversation.state = before
      return
    }
    this.#last = undefined
    this.#young.delete(conversation.key)
    this.#old.delete(conversation.key)
  }

  #get(key: string): Conversation | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.#put(old)
    }
    return old
  }

  #put(conversation: Conversation): void {
    this.#young.set(conversation.key, conversation)
    this.#weight += 1 + conversation.state.intervals.length
    if (this.#weight < this.#weightMax) return
    this.#weight = 0
    this.#last = undefined
    const carried = this.#old.entries().filter(([, { underWay }]) => underWay > 0)
    const young = new Map(carried)
    this.#old = this.#young
    this.#young = young
  }

  #load(id: ConversationId): Promise<Conversation | undefined> {
    const key = keyOf(id)
    const loading = this.#loading.get(key) ?? this.#read(id, key).finally(() => this.#loading.delete(key))
    this.#loading.set(key, loading)
    return loading
  }

  async #read(asked: ConversationId, key: string): Promise<Conversation | undefined> {
    const bytes = await this.#archive.get('conversation', asked)
    if (bytes === undefined) return this.#get(key) // or it was begun meanwhile
    const { id, number, sequence, state } = decodeConversation(bytes)
    const conversation = newConversation(id, number, state, { durable: state, sequence })
    // an end that was not noted before the restart stands before what is newest now
    const newest = Math.max(...Object.values(conversation.boxes).map((box) => this.#archive.newestOf(box)))
    for (const each of state.intervals) if (each.through !== open && each.until === open) each.until = newest
    conversation.sequence = await this.#newestSequence(conversation)
    conversation.durableSequence = conversation.sequence
    this.#put(conversation)
    return conversation
  }

  /**
   * The newest sequence that was given: where the state was written last, where the box of messages was emptied last, or
   * where the newest message stands. If that one cannot be read, as high as it may be: no sequence is given twice.
   */
  async #newestSequence({ number, boxes, sequence }: Conversation): Promise<number> {
    const emptied = await this.#archive.get('handshake', handshakeKey(number, 'sequence'))
    const known = Math.max(sequence, emptied === undefined ? 0 : decode(u64, emptied))
    const newest = this.#archive.newestOf(boxes.application)
    if (newest === 0) return known
    const waiting = this.#archive.reader(boxes.application, newest - 1).peek()
    const [message] = waiting === undefined ? [] : await this.#archive.read([waiting])
    const there = message && sequenceIn(message.content)
    if (there !== undefined) return Math.max(known, there)
    return known + this.#archive.countOf(boxes.application)
  }
}

/** Messages on their way to the disk, and where its conversation stood before them. */
class Appending implements Told {
  readonly conversation: Conversation
  readonly state: ConversationState
  readonly sequence: number
  readonly failures: number
  readonly #shelf: Shelf
  readonly #told: Told

  constructor(shelf: Shelf, conversation: Conversation, told: Told) {
    this.#shelf = shelf
    this.#told = told
    this.conversation = conversation
    this.state = conversation.state
    this.sequence = conversation.sequence
    this.failures = conversation.failures
  }

  durable(stepped: Stepped): void {
    this.#shelf.appended(this, stepped.positions.length)
    this.#told.durable(stepped)
  }

  refused(error: Error): void {
    this.#shelf.notAppended(this)
    this.#told.refused(error)
  }
}

function isSame(one: ConversationId, other: ConversationId): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false
  return true
}

/** What has to be in the step that empties the box of messages: the sequence is told by nothing else then. */
export function sequenceObject({ number, sequence }: Conversation): ObjectChange {
  return { kind: 'handshake', key: handshakeKey(number, 'sequence'), value: encode(u64, sequence) }
}
