import assert from 'node:assert/strict'
import { decode } from '@messageu/protocol'
import { type AccountId, ConversationId, type DeviceId, Hash, SendId } from '@messageu/protocol/v3'
import { decodeMlsMessage } from 'ts-mls'
import { sameBytes } from '../../src/bytes.ts'
import {
  type Applied,
  type Arrived,
  type ArrivedWelcome,
  applyCommit,
  type Content,
  type ConversationState,
  confirmRejoin,
  createConversation,
  type GroupId,
  type Joined,
  joinFromWelcome,
  type KnownLists,
  type ListRef,
  type LocalDevice,
  leaving,
  type NewKeyPackage,
  newKeyPackage,
  type Opened,
  open,
  type Purpose,
  type Sending,
  type Staged,
  type StagedRejoin,
  type Suite,
  seal,
  stageCommit,
  stageRejoin,
  type View,
  view,
  type Wish,
  type Writing,
} from '../../src/conversation/index.ts'
import { CommitNote } from '../../src/conversation/shared.ts'
import { newDevice } from '../../src/device.ts'
import { addDevice, recoverAccount, removeDevice } from '../../src/listentries.ts'
import type { RandomBytes } from '../../src/secret.ts'
import { signingKey } from '../../src/signing.ts'
import { continueVerified, type VerifiedList } from '../../src/verifiedlist.ts'
import { seededKey, type TestAccount, testAccount } from '../account.ts'
import { toHex } from '../hex.ts'
import { seeded } from '../seeded.ts'

/** Some time in 2026, milliseconds since 1970. */
export const now = 1_790_000_000_000

/** Whoever takes part in a test: an account with its list at every version. */
export interface Somebody {
  readonly account: TestAccount
  readonly entries: Uint8Array[]
  readonly lists: VerifiedList[]
  readonly phone: TestDevice
}

export interface TestDevice {
  readonly self: LocalDevice
  readonly owner: Somebody
  /** Key packages that nobody has used yet. */
  readonly packages: NewKeyPackage[]
  readonly welcomes: Set<string>
  sendNumber: number
}

/** Everybody there is, and the lists that the server would give. */
export class World {
  readonly #people: Somebody[] = []
  readonly random: RandomBytes

  constructor(label: string) {
    this.random = seeded(label)
  }

  async person(name: string): Promise<Somebody> {
    const account = await testAccount(name)
    const entries = [account.created]
    const lists = [account.list]
    const self = await localDevice(account.id, account.phone)
    const phone: TestDevice = {
      self,
      get owner() {
        return somebody
      },
      packages: [],
      welcomes: new Set(),
      sendNumber: 0,
    }
    const somebody: Somebody = { account, entries, lists, phone }
    this.#people.push(somebody)
    return somebody
  }

  /** One more device on somebody's list. */
  async device(owner: Somebody): Promise<TestDevice> {
    const secrets = newDevice(owner.account.random)
    const certificate = await owner.account.certificateOf(secrets)
    await this.append(owner, await addDevice(newest(owner), owner.account.managerKey, certificate))
    const self = await localDevice(owner.account.id, secrets)
    return { self, owner, packages: [], welcomes: new Set(), sendNumber: 0 }
  }

  async delist(device: TestDevice): Promise<void> {
    const { owner, self } = device
    await this.append(owner, await removeDevice(newest(owner), owner.account.managerKey, self.device))
  }

  /** A new device by the words; all others leave the list. */
  async recover(owner: Somebody): Promise<TestDevice> {
    const secrets = newDevice(owner.account.random)
    const { publicKey: managerKey } = await seededKey(owner.account.random)
    const entry = await recoverAccount(newest(owner), owner.account.accountKey, {
      managerKey,
      device: await owner.account.certificateOf(secrets),
    })
    await this.append(owner, entry)
    const self = await localDevice(owner.account.id, secrets)
    return { self, owner, packages: [], welcomes: new Set(), sendNumber: 0 }
  }

  async append(owner: Somebody, entry: Uint8Array): Promise<void> {
    owner.lists.push(await continueVerified(newest(owner), [entry]))
    owner.entries.push(entry)
  }

  readonly lists: KnownLists = ({ account, version }: ListRef) =>
    this.#people.find((each) => sameBytes(each.account.id, account))?.lists[version - 1]

  newestOf(account: AccountId): VerifiedList {
    const somebody = this.#people.find((each) => sameBytes(each.account.id, account))
    assert.ok(somebody)
    return newest(somebody)
  }

  get newestLists(): readonly VerifiedList[] {
    return this.#people.map(newest)
  }

  sending(device: TestDevice): Sending {
    device.sendNumber++
    return { id: decode(SendId, this.random(16)), number: device.sendNumber }
  }

  conversationId(): ConversationId {
    return decode(ConversationId, this.random(32))
  }
}

export function newest({ lists }: Somebody): VerifiedList {
  const list = lists.at(-1)
  assert.ok(list)
  return list
}

async function localDevice(
  account: AccountId,
  {
    device,
    signatureSeed,
    requestSeed,
  }: { device: DeviceId } & Pick<LocalDevice, 'signatureSeed'> & {
      requestSeed: LocalDevice['signatureSeed']
    },
): Promise<LocalDevice> {
  return { account, device, signatureSeed, requestKey: await signingKey(requestSeed) }
}

/** The send id that a commit signs. */
function idOf(commit: Uint8Array): SendId {
  const [message] = decodeMlsMessage(commit, 0) ?? []
  assert.ok(message?.wireformat === 'mls_public_message')
  return decode(CommitNote, message.publicMessage.content.authenticatedData).id
}

/** A key package of the device, fresh. */
export async function packageOf(device: TestDevice, suite: Suite, isLastResort = false): Promise<NewKeyPackage> {
  const made = await newKeyPackage(device.self, newest(device.owner), { suite, isLastResort, now })
  device.packages.push(made)
  return made
}

/** One conversation with an honest server: what is committed reaches everybody, in order. */
export class Room {
  readonly world: World
  readonly id: GroupId
  readonly suite: Suite
  readonly seats = new Map<TestDevice, ConversationState>()
  shown: Pick<Staged, 'groupInfo' | 'tree'> = { groupInfo: new Uint8Array(), tree: new Uint8Array() }
  sequence = 0

  constructor(world: World, { id, suite = 'x25519' }: { id: GroupId; suite?: Suite | undefined }) {
    this.world = world
    this.id = id
    this.suite = suite
  }

  /** A conversation that `creator` has begun and brought the others into. */
  static async of(
    world: World,
    creator: TestDevice,
    others: readonly TestDevice[],
    { purpose = { kind: 'group' }, suite }: { purpose?: Purpose; suite?: Suite } = {},
  ): Promise<Room> {
    const room = new Room(world, { id: { conversation: world.conversationId(), generation: 1 }, suite })
    const { conversation } = room.id
    const options = { conversation, purpose, suite: room.suite }
    room.seats.set(creator, await createConversation(creator.self, newest(creator.owner), options))
    if (others.length > 0) await room.add(creator, others)
    return room
  }

  state(device: TestDevice): ConversationState {
    const state = this.seats.get(device)
    assert.ok(state, 'the device has a place in the conversation')
    return state
  }

  view(device: TestDevice): View {
    return view(this.state(device))
  }

  stage(device: TestDevice, wish: Wish): Promise<Staged> {
    const options = { ...this.world.sending(device), lists: this.listsFor(), now }
    return stageCommit(this.state(device), device.self, wish, options)
  }

  /** What others have of it when they commit: the newest list of everybody. */
  listsFor(): readonly VerifiedList[] {
    return this.world.newestLists
  }

  async add(by: TestDevice, devices: readonly TestDevice[]): Promise<void> {
    const made = await Promise.all(devices.map((device) => packageOf(device, this.suite)))
    await this.commit(by, { kind: 'add', keyPackages: made.map(({ keyPackage }) => keyPackage) }, devices)
  }

  /** Stages, and gives to everybody what the server would. All have to take it. */
  async commit(by: TestDevice, wish: Wish, joining: readonly TestDevice[] = []): Promise<Staged> {
    const staged = await this.stage(by, wish)
    await this.accept(by, staged)
    for (const device of joining) {
      const joined = await this.welcome(device, by, staged)
      assert.equal(joined.kind, 'joined', `${JSON.stringify(joined)}`)
    }
    return staged
  }

  /** The commit takes its place. */
  async accept(by: TestDevice, staged: Staged): Promise<void> {
    for (const device of [...this.seats.keys()]) {
      const applied = await this.deliver(device, by, staged)
      assert.ok(applied.kind === 'applied' || applied.kind === 'removed', JSON.stringify(applied))
    }
    this.show(staged)
  }

  show({ groupInfo, tree }: Pick<Staged, 'groupInfo' | 'tree'>): void {
    this.shown = { groupInfo, tree }
    this.sequence++
  }

  arrived(by: TestDevice, { commit, roster }: Pick<Staged, 'commit' | 'roster'>): Arrived {
    return { sender: by.self.device, id: idOf(commit), commit, roster }
  }

  async deliver(to: TestDevice, by: TestDevice, staged: Staged): Promise<Applied> {
    const applied = await applyCommit(this.state(to), this.arrived(by, staged), {
      lists: this.world.lists,
      pending: to === by ? staged.pending : undefined,
    })
    if (applied.kind === 'applied') this.seats.set(to, applied.state)
    if (applied.kind === 'removed') this.seats.delete(to)
    return applied
  }

  async welcome(device: TestDevice, by: TestDevice, { welcomes, tree }: Staged): Promise<Joined> {
    const [only] = welcomes
    assert.ok(only)
    const arrived: ArrivedWelcome = { ...this.id, sender: by.self.device, welcome: only.welcome, tree }
    return this.join(device, arrived)
  }

  async join(device: TestDevice, arrived: ArrivedWelcome): Promise<Joined> {
    const joined = await joinFromWelcome(device.self, arrived, {
      lists: this.world.lists,
      memory: {
        packages: device.packages,
        isHeld: this.seats.has(device),
        wasSeen: (hash) => device.welcomes.has(toHex(hash)),
      },
    })
    if (joined.kind === 'joined') {
      this.seats.set(device, joined.state)
      device.welcomes.add(toHex(joined.welcome))
      const used = device.packages.findIndex(({ ref }) => sameBytes(ref, joined.usedPackage))
      if (device.packages[used]?.isLastResort === false) device.packages.splice(used, 1)
    }
    return joined
  }

  stageRejoin(
    device: TestDevice,
    { replaces, newestEpoch = 0 }: { replaces?: TestDevice; newestEpoch?: number } = {},
  ): Promise<StagedRejoin> {
    return stageRejoin(
      device.self,
      { ...this.id, ...this.shown },
      {
        ...this.world.sending(device),
        list: newest(device.owner),
        lists: this.world.lists,
        newestEpoch,
        ...(replaces && { replaces: replaces.self.device }),
      },
    )
  }

  /** The device takes its place again, in front of everybody. */
  async rejoin(device: TestDevice, options: { replaces?: TestDevice } = {}): Promise<void> {
    const staged = await this.stageRejoin(device, options)
    assert.ok(staged.kind === 'staged', JSON.stringify(staged))
    this.seats.delete(device)
    await this.accept(device, staged)
    const state = await confirmRejoin(device.self, this.arrived(device, staged), staged.pending)
    assert.ok(state)
    this.seats.set(device, state)
  }

  writing(device: TestDevice): Writing {
    return {
      ...this.world.sending(device),
      clock: now,
      list: newest(device.owner),
      seen: { sequence: this.sequence, hash: decode(Hash, new Uint8Array(32)) },
    }
  }

  async send(from: TestDevice, content: Content): Promise<Uint8Array> {
    const { state, sealed } = await seal(this.state(from), from.self, content, this.writing(from))
    this.seats.set(from, state)
    return sealed
  }

  say(from: TestDevice, text: string): Promise<Uint8Array> {
    return this.send(from, { kind: 'text', body: { text } })
  }

  async sayFarewell(from: TestDevice): Promise<Uint8Array> {
    return this.send(from, await leaving(this.state(from), from.self))
  }

  async open(device: TestDevice, sealed: Uint8Array): Promise<Opened> {
    const opened = await open(this.state(device), sealed)
    this.seats.set(device, opened.state)
    return opened
  }

  /** The text that the device reads, or why it reads none. */
  async read(device: TestDevice, sealed: Uint8Array): Promise<string> {
    const opened = await this.open(device, sealed)
    if (opened.kind === 'unopened') return `[${opened.reason}]`
    const { content } = opened.message
    return content.kind === 'text' ? content.body.text : `[${content.kind}]`
  }

  /** What everybody agrees on; fails where they do not. */
  agreed(): View {
    const [first, ...others] = [...this.seats.keys()].map((device) => this.view(device))
    assert.ok(first)
    for (const other of others) assert.deepEqual(other, first)
    assert.deepEqual(
      first.roster.map(toHex).toSorted(),
      [...this.seats.keys()].map(({ self }) => toHex(self.device)).toSorted(),
    )
    return first
  }
}
