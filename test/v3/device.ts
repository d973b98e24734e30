import {
  type Change,
  type Outcome,
  openSession,
  type Receiver,
  register,
  type Sealed,
  type Session,
  type SessionEvent,
  type Store,
  systemClock,
  systemRandom,
  type Transport,
  type World,
} from '@messageu/client'
import { nodeTransport, openProfile } from '@messageu/client/node'
import { newWords } from '@messageu/e2ee'
import { decode, encode, type Infer, struct, text, u64, utf8Decode, utf8Encode } from '@messageu/protocol'
import {
  type AccountId,
  type ConversationId,
  DeliveredCommit,
  type Delivery,
  type DeviceId,
  parseLink,
} from '@messageu/protocol/v3'

/** What a device keeps of one delivery. */
const Heard = struct({ sequence: u64, position: u64, kind: text({ max: 16 }), text: text({ max: 300_000 }) })
export type Heard = Infer<typeof Heard>

export interface DeviceOptions {
  readonly folder: string
  readonly link: string
  /** Registers under this name if the profile is new. */
  readonly name?: string
  readonly transport?: Transport
  /** Stands between the device and its store. */
  readonly around?: (store: Store) => Store
  readonly onEvent?: (event: SessionEvent) => void
}

const never = new AbortController().signal

/**
 * A device of version 3 as a program of its own would be: a profile on the disk, a session that comes back, everything
 * stored before it is acknowledged. What it says and hears is text that nobody has encrypted.
 */
export class Device implements AsyncDisposable {
  readonly session: Session
  readonly #store: Store
  readonly #owned: AsyncDisposable
  readonly #news: News

  private constructor(session: Session, store: Store, news: News, owned: AsyncDisposable) {
    this.session = session
    this.#store = store
    this.#news = news
    this.#owned = owned
  }

  static async open(options: DeviceOptions): Promise<Device> {
    const { folder, link, name, transport = nodeTransport(), around = (store) => store, onEvent } = options
    const world: World = { transport, clock: systemClock, random: systemRandom }
    await using opening = new AsyncDisposableStack()
    const store = around(opening.use(await openProfile(folder)).store)
    if (name !== undefined)
      await register({ link: parseLink(link), name, words: newWords(systemRandom), store, world, signal: never })
    const news = new News()
    const receiver = keeping(store, news)
    const patience = 'for-ever'
    const listening = onEvent === undefined ? {} : { onEvent }
    const session = opening.use(await openSession({ store, world, signal: never, receiver, patience, ...listening }))
    return new Device(session, store, news, opening.move())
  }

  get account(): AccountId {
    return this.session.account.identity.account
  }

  get id(): DeviceId {
    return this.session.account.identity.device
  }

  /** Resolves when the text is stored and will be sent; the outcome inside when the server has answered. */
  async say(
    conversation: ConversationId,
    words: string,
    { epoch }: { epoch: number },
  ): Promise<{ outcome: Promise<Outcome> }> {
    const request = { conversation, generation: 1, epoch, sealed: utf8Encode(words) }
    return this.session.submitSealed({ operation: 'send', request }, { signal: never })
  }

  /** A commit that says nothing but who is on the roster after it. */
  async commit(conversation: ConversationId, epoch: number, roster: readonly DeviceId[], words = ''): Promise<Outcome> {
    const { outcome } = await this.session.submitSealed(commitOf(conversation, epoch, roster, words), { signal: never })
    return outcome
  }

  /** Everything that this device has stored, in the order in which it was stored. */
  heard(): Promise<readonly Heard[]> {
    return heardIn(this.#store)
  }

  /** Resolves once so many application messages are stored. */
  async hears(count: number): Promise<readonly string[]> {
    for (;;) {
      const next = this.#news.next()
      const texts = (await this.heard()).filter(({ kind }) => kind === 'application').map((each) => each.text)
      if (texts.length >= count) return texts
      await next
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

/** What a profile has stored, in the order in which it was stored. */
async function heardIn(store: Store): Promise<readonly Heard[]> {
  const count = await countIn(store)
  const values = await Promise.all(Array.from({ length: count }, (_, i) => store.get('content', heardKey(i))))
  return values.map((value) => decode(Heard, value ?? new Uint8Array()))
}

/**
 * Puts what comes behind what came before, in the step that also moves the place up to which everything is stored: what
 * came twice stands there twice.
 */
function keeping(store: Store, news: News): Receiver {
  return {
    async receive(deliveries): Promise<readonly Change[]> {
      const before = await countIn(store)
      const rows = deliveries.map((delivery, i) => ({
        table: 'content' as const,
        key: heardKey(before + i),
        value: encode(Heard, heardOf(delivery)),
      }))
      setTimeout(() => news.tell(), 0) // by then it is stored, or it will be received again
      return [...rows, { table: 'content', key: countKey, value: encode(u64, before + rows.length) }]
    },
  }
}

function heardOf({ sequence, position, kind, sealed }: Delivery): Heard {
  const said =
    kind === 'application' ? sealed : kind === 'commit' ? decode(DeliveredCommit, sealed).commit : new Uint8Array()
  return { sequence, position, kind, text: utf8Decode(said) }
}

function commitOf(conversation: ConversationId, epoch: number, roster: readonly DeviceId[], words: string): Sealed {
  const request = {
    conversation,
    generation: 1,
    epoch,
    commit: utf8Encode(words),
    roster,
    welcomes: [],
    groupInfo: utf8Encode(`group info of ${epoch + 1}`),
    tree: utf8Encode(`tree of ${epoch + 1}`),
  }
  return { operation: 'commit', request }
}

const countKey = utf8Encode('count')

function heardKey(index: number): Uint8Array {
  return utf8Encode(`heard ${index}`)
}

async function countIn(store: Store): Promise<number> {
  const value = await store.get('content', countKey)
  return value === undefined ? 0 : decode(u64, value)
}

/** Something was stored. Told again after a while, for what was stored later than it was told. */
class News {
  #gate = Promise.withResolvers<void>()

  tell(): void {
    this.#gate.resolve()
    this.#gate = Promise.withResolvers()
  }

  next(): Promise<void> {
    return Promise.race([this.#gate.promise, new Promise<void>((resolve) => setTimeout(resolve, 50))])
  }
}
