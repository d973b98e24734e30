import { randomBytes } from 'node:crypto'
import { createAccount, newDevice, newSeed, signingKey, type VerifiedList, verifyList } from '@messageu/e2ee'
import {
  type Applied,
  applyCommit,
  type ConversationState,
  createConversation,
  type Joined,
  joinFromWelcome,
  type LocalDevice,
  type NewKeyPackage,
  newKeyPackage,
  type Opened,
  open,
  type Staged,
  seal,
  stageCommit,
  type Wish,
} from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { ConversationId, Hash, SendId } from '@messageu/protocol/v3'

/** A device that takes part, the only one of its account: so a group has as many accounts as it can. */
export interface Guest {
  readonly self: LocalDevice
  readonly list: VerifiedList
  readonly keyPackage: NewKeyPackage
}

/** A commit with whoever made it, and the send that it was. */
export interface Made extends Staged {
  readonly by: Guest
  readonly id: SendId
}

const conversation = decode(ConversationId, randomBytes(32))
const nothingSeen = { sequence: 0, hash: decode(Hash, new Uint8Array(32)) }

/**
 * One group in memory, with a server that is honest and always there. It keeps the state of those who have a seat; the
 * others are members of whom nothing is known but that they are there.
 */
export class Gathering {
  readonly host: Guest
  readonly seats: Map<Guest, ConversationState>
  readonly #lists = new Map<string, VerifiedList>()
  #sends = 0

  private constructor(host: Guest, state: ConversationState) {
    this.host = host
    this.seats = new Map([[host, state]])
    this.#know(host)
  }

  static async begin(): Promise<Gathering> {
    const host = await newGuest('host')
    const options = { conversation, purpose: { kind: 'group' }, suite: 'x25519' } as const
    return new Gathering(host, await createConversation(host.self, host.list, options))
  }

  state(of: Guest): ConversationState {
    const state = this.seats.get(of)
    if (state === undefined) throw new Error('who has no seat has no state')
    return state
  }

  async newGuest(): Promise<Guest> {
    const guest = await newGuest(`guest ${this.#lists.size}`)
    this.#know(guest)
    return guest
  }

  /** Brings guests in, and gives the last of them a seat. */
  async invite(guests: readonly Guest[]): Promise<void> {
    const made = await this.stage(this.host, { kind: 'add', keyPackages: packagesOf(guests) })
    await this.accept(made)
    const last = guests.at(-1)
    if (last !== undefined) this.seats.set(last, must(await this.join(last, made), 'joined').state)
  }

  async update(by: Guest): Promise<void> {
    await this.accept(await this.stage(by, { kind: 'update' }))
  }

  /** Everybody who has a seat follows. */
  async accept(made: Made): Promise<void> {
    for (const guest of this.seats.keys()) this.seats.set(guest, must(await this.follow(guest, made), 'applied').state)
  }

  async stage(by: Guest, wish: Wish): Promise<Made> {
    const sending = this.#sending()
    const options = { ...sending, lists: [...this.#lists.values()], now: Date.now() }
    return { by, id: sending.id, ...(await stageCommit(this.state(by), by.self, wish, options)) }
  }

  follow(guest: Guest, { by, id, commit, roster, pending }: Made): Promise<Applied> {
    const arrived = { sender: by.self.device, id, commit, roster }
    return applyCommit(this.state(guest), arrived, { lists: this.#known, pending: guest === by ? pending : undefined })
  }

  join(guest: Guest, { welcomes: [only], tree }: Staged): Promise<Joined> {
    if (only === undefined) throw new Error('the commit welcomes nobody')
    const arrived = { conversation, generation: 1, sender: this.host.self.device, welcome: only.welcome, tree }
    const memory = { packages: [guest.keyPackage], isHeld: false, wasSeen: () => false }
    return joinFromWelcome(guest.self, arrived, { lists: this.#known, memory })
  }

  async say(from: Guest, text: string): Promise<Uint8Array> {
    const writing = { ...this.#sending(), clock: Date.now(), list: from.list, seen: nothingSeen }
    const { state, sealed } = await seal(this.state(from), from.self, { kind: 'text', body: { text } }, writing)
    this.seats.set(from, state)
    return sealed
  }

  async hear(guest: Guest, sealed: Uint8Array): Promise<Opened & { kind: 'opened' }> {
    const opened = must(await open(this.state(guest), sealed), 'opened')
    this.seats.set(guest, opened.state)
    return opened
  }

  readonly #known = ({ account }: { account: Uint8Array }): VerifiedList | undefined => this.#lists.get(account.join())

  #know({ list }: Guest): void {
    this.#lists.set(list.account.join(), list)
  }

  #sending(): { id: SendId; number: number } {
    this.#sends++
    return { id: decode(SendId, randomBytes(16)), number: this.#sends }
  }
}

export function packagesOf(guests: readonly Guest[]): readonly Uint8Array[] {
  return guests.map(({ keyPackage: { keyPackage } }) => keyPackage)
}

async function newGuest(name: string): Promise<Guest> {
  const [accountKey, managerKey, serverKey] = await Promise.all([newKey(), newKey(), newKey()])
  const secrets = newDevice(randomBytes)
  const account = { accountKey, managerKey: managerKey.publicKey, name, serverKey: serverKey.publicKey }
  const list = await verifyList([await createAccount({ ...account, device: secrets })])
  const self = {
    account: list.account,
    device: secrets.device,
    signatureSeed: secrets.signatureSeed,
    requestKey: await signingKey(secrets.requestSeed),
  }
  return { self, list, keyPackage: await newKeyPackage(self, list, { suite: 'x25519', now: Date.now() }) }
}

function newKey() {
  return signingKey(newSeed(randomBytes))
}

function must<O extends { readonly kind: string }, K extends O['kind']>(outcome: O, kind: K): O & { kind: K } {
  if (outcome.kind === kind) return outcome as O & { kind: K } // its kind was just compared
  const why = 'reason' in outcome ? outcome.reason : ''
  throw new Error(`${outcome.kind} ${why} where it should have been ${kind}`)
}
