import assert from 'node:assert/strict'
import { decode } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import { sameBytes } from '../../src/bytes.ts'
import {
  type Arrived,
  applyCommit,
  type ConversationState,
  confirmRejoin,
  createConversation,
  type GroupId,
  isContinuation,
  joinFromWelcome,
  leaving,
  open,
  recreate,
  type Staged,
  seal,
  stageCommit,
  stageRejoin,
  view,
  type Wish,
} from '../../src/conversation/index.ts'
import { toHex } from '../hex.ts'
import { dice } from './dice.ts'
import { tampered } from './forge.ts'
import { newest, now, packageOf, Room, type Somebody, type TestDevice, World } from './world.ts'

// Members of one conversation do anything that they can do, in any order, and the server and the machines below them
// fail in the ways in which they fail. What has to be true whatever happens is asserted where it happens.

interface Posted {
  readonly kind: 'message'
  readonly id: GroupId
  readonly epoch: number
  readonly by: TestDevice
  readonly text: string
  readonly sealed: Uint8Array
  readonly to: readonly TestDevice[]
}

interface Committed {
  readonly kind: 'commit'
  readonly id: GroupId
  readonly epoch: number
  readonly by: TestDevice
  readonly arrived: Arrived
  readonly welcomes: Staged['welcomes']
  readonly tree: Uint8Array
  readonly to: readonly TestDevice[]
  readonly isPoisoned: boolean
}

type Item = Posted | Committed

/** What the server keeps: one sequence, the present epoch, and who is in it. It reads nothing. */
interface Server {
  id: GroupId
  epoch: number
  floor: number
  roster: readonly TestDevice[]
  shown: Pick<Staged, 'groupInfo' | 'tree'>
  readonly log: Item[]
  /** Whoever made the commit that nobody can follow. */
  poisoner: TestDevice | undefined
}

/** What a device has stored. Whatever is not written here is lost when it crashes. */
interface Client {
  readonly device: TestDevice
  state: ConversationState | undefined
  /** Its place in the sequence: everything before it has been taken. */
  at: number
  /** The epoch that it came in: what was sealed before is not for it. */
  since: number
  pending: Uint8Array | undefined
  isRejoining: boolean
  isStuck: boolean
  /** Whether a commit never reached it. */
  hasMissed: boolean
  /** Messages that the server holds back and gives later. */
  readonly late: Posted[]
  /** States from which it was removed: they have to stay blind. */
  readonly former: { readonly state: ConversationState; readonly at: number }[]
  readonly read: Map<number, string>
}

const update = { kind: 'update' } as const

export class Model {
  readonly counts: Record<string, number> = {}
  readonly #world: World
  readonly #roll: (below: number) => number
  readonly #server: Server
  readonly #clients = new Map<TestDevice, Client>()
  #texts = 0
  /** Where the members were who could not follow. */
  #recreatedFrom = 0

  private constructor(world: World, { id, seed }: { id: GroupId; seed: string }) {
    this.#world = world
    this.#roll = dice(seed)
    const shown = { groupInfo: new Uint8Array(), tree: new Uint8Array() }
    this.#server = { id, epoch: 0, floor: 0, roster: [], shown, log: [], poisoner: undefined }
  }

  /** Five accounts with eight devices; the first has made a group of all of them. */
  static async begin(seed: string): Promise<Model> {
    const world = new World(seed)
    const people: Somebody[] = []
    for (const name of ['alice', 'bob', 'carol', 'dave', 'erin']) people.push(await world.person(name))
    const second = await Promise.all(people.slice(0, 3).map((somebody) => world.device(somebody)))
    const devices = [...people.map(({ phone }) => phone), ...second]
    const [first, ...others] = devices
    assert.ok(first)
    const model = new Model(world, { id: { conversation: world.conversationId(), generation: 1 }, seed })
    for (const device of devices) model.#clients.set(device, newClient(device))
    const options = {
      conversation: model.#server.id.conversation,
      purpose: { kind: 'group' },
      suite: 'x25519',
    } as const
    const client = model.#clientOf(first)
    client.state = await createConversation(first.self, newest(first.owner), options)
    model.#server.roster = [first]
    await model.#commit(client, await model.#adding(others))
    await model.settle()
    return model
  }

  /** Something happens. */
  async step(): Promise<void> {
    const [client] = this.#shuffled([...this.#clients.values()].filter((each) => this.#isOnRoster(each)))
    assert.ok(client)
    const roll = this.#roll(1000)
    if (roll < 300) await this.#say(client)
    else if (roll < 600) await this.#take(client, 1 + this.#roll(8))
    else if (roll < 700) await this.#takeAll()
    else if (roll < 760) await this.#commit(client, update)
    else if (roll < 810) await this.#addSomebody(client)
    else if (roll < 850) await this.#removeSomebody(client)
    else if (roll < 870) await this.#leave(client)
    else if (roll < 890) await this.#appoint(client)
    else if (roll < 920) await this.#crash(client)
    else if (roll < 960) await this.#takeLate(client)
    else if (roll < 990) this.#miss(client)
    else await this.#poison(client)
    await this.#repair()
  }

  /** Everybody takes everything; then all who are in have to agree, and all who are out to be blind. */
  async settle(): Promise<void> {
    for (let round = 0; round < 6; round++) {
      await this.#takeAll()
      for (const client of this.#clients.values()) {
        await this.#takeLate(client)
        this.#noticeGap(client)
      }
      await this.#repair()
    }
    const inside = [...this.#clients.values()].filter(({ state }) => state !== undefined)
    const views = inside.map(({ state }) => state && view(state))
    for (const each of views) assert.deepEqual(each, views[0])
    assert.equal(views[0]?.epoch, this.#server.epoch)
    assert.deepEqual(namesOf(inside.map(({ device }) => device)), namesOf(this.#server.roster))
    for (const client of this.#clients.values()) await this.#stayBlind(client)
  }

  async #say(client: Client): Promise<void> {
    const { server, state } = this.#sendable(client)
    if (state === undefined) return
    const { epoch } = view(state)
    if (epoch < Math.max(server.epoch - 3, server.floor)) return // the server refuses it: `stale-epoch`
    this.#texts++
    const text = `${this.#texts}`
    const sealed = await this.#sealed(client, state, text)
    const to = this.#server.roster.filter((device) => device !== client.device)
    server.log.push({ kind: 'message', id: server.id, epoch, by: client.device, text, sealed, to })
    this.#count('sent')
  }

  async #sealed(client: Client, state: ConversationState, text: string): Promise<Uint8Array> {
    const sealed = await seal(
      state,
      client.device.self,
      { kind: 'text', body: { text } },
      {
        ...this.#world.sending(client.device),
        clock: now,
        list: newest(client.device.owner),
        seen: { sequence: client.at, hash: decode(Hash, new Uint8Array(32)) },
      },
    )
    client.state = sealed.state
    return sealed.sealed
  }

  /** Stages and submits; what wins goes into the sequence, what loses is forgotten. */
  async #commit(client: Client, wish: Wish): Promise<boolean> {
    const { server, state } = this.#sendable(client)
    if (state === undefined || client.pending !== undefined) return false
    const options = { ...this.#world.sending(client.device), lists: this.#world.newestLists, now }
    const staged = await stageCommit(state, client.device.self, wish, options)
    if (staged.epoch !== server.epoch || server.poisoner !== undefined) return false
    client.pending = staged.pending
    this.#accept(client.device, staged)
    this.#count(wish.kind)
    return true
  }

  #accept(by: TestDevice, staged: Omit<Staged, 'pending'>, isPoisoned = false): void {
    const server = this.#server
    const after = [...this.#clients.keys()].filter(({ self }) =>
      staged.roster.some((device) => sameBytes(device, self.device)),
    )
    const arrived = this.#room(by).arrived(by, staged)
    const to = [...new Set([...server.roster, ...after])]
    const { welcomes, tree } = staged
    server.log.push({ kind: 'commit', id: server.id, epoch: server.epoch, by, arrived, welcomes, tree, to, isPoisoned })
    server.epoch++
    if (server.roster.some((device) => !after.includes(device))) server.floor = server.epoch
    server.roster = after
    server.shown = { groupInfo: staged.groupInfo, tree }
  }

  async #addSomebody(client: Client): Promise<void> {
    const { state } = this.#sendable(client)
    if (state === undefined) return
    const here = view(state).roster
    const [outside] = this.#shuffled(
      [...this.#clients.keys()].filter((device) => !here.some((each) => sameBytes(each, device.self.device))),
    )
    if (outside === undefined || !this.#may(state, client, outside, 'add')) return
    if (view(state).formerOwners.some((owner) => sameBytes(owner, outside.self.account))) return this.#appoint(client)
    await this.#commit(client, await this.#adding([outside]))
  }

  async #removeSomebody(client: Client): Promise<void> {
    const { state } = this.#sendable(client)
    if (state === undefined || this.#server.roster.length < 4) return
    const here = view(state).roster
    const [target] = this.#shuffled(
      [...this.#clients.keys()].filter(
        (device) => device !== client.device && here.some((each) => sameBytes(each, device.self.device)),
      ),
    )
    if (target === undefined || !this.#may(state, client, target, 'remove')) return
    await this.#commit(client, { kind: 'remove', devices: [target.self.device] })
  }

  /** An account says that it leaves, and the first member that hears it takes its devices out. */
  async #leave(client: Client): Promise<void> {
    const { server, state } = this.#sendable(client)
    const others = [...this.#clients.values()].filter(({ device }) => device.owner !== client.device.owner)
    const hearer = this.#shuffled(others).find((each) => this.#sendable(each).state !== undefined)
    const heard = hearer && this.#sendable(hearer).state
    if (state === undefined || hearer === undefined || heard === undefined || server.roster.length < 5) return
    if (view(heard).epoch !== view(state).epoch) return
    const content = await leaving(state, client.device.self)
    assert.ok(content.kind === 'leave')
    const { epoch, departure: signature } = content.body
    const { account, device } = client.device.self
    const theirs = view(heard).members.filter((member) => sameBytes(member.account, account))
    const devices = theirs.map((member) => member.device)
    const departures = [{ account, device, epoch, signature }]
    if (await this.#commit(hearer, { kind: 'remove', devices, departures })) this.#count('left')
  }

  async #appoint(client: Client): Promise<void> {
    const { state } = this.#sendable(client)
    if (state === undefined) return
    const { owners, lists } = view(state)
    if (!owners.some((owner) => sameBytes(owner, client.device.self.account))) return
    const others = this.#shuffled(lists.map(({ account }) => account)).slice(0, 2)
    await this.#commit(client, { kind: 'owners', owners: [client.device.self.account, ...others] })
  }

  /** Whatever the device was at is lost before it was stored: it does it again from where it was, if at all. */
  async #crash(client: Client): Promise<void> {
    const { state } = this.#sendable(client)
    if (state === undefined) return
    const before = { state, sends: client.device.sendNumber }
    await this.#sealed(client, state, 'never stored')
    if (client.pending === undefined)
      await stageCommit(state, client.device.self, update, {
        ...this.#world.sending(client.device),
        lists: [],
        now,
      })
    client.state = before.state
    client.device.sendNumber = before.sends
    this.#count('crashed')
  }

  /** A commit never reaches the device: it finds out by what comes after, and rejoins. */
  #miss(client: Client): void {
    const next = this.#server.log[client.at]
    if (next?.kind !== 'commit' || client.state === undefined || client.pending !== undefined) return
    client.at++
    client.hasMissed = true
    this.#count('missed')
  }

  /** The server tells its epoch: a device that has taken everything and is behind it has missed something. */
  #noticeGap(client: Client): void {
    const { state } = this.#sendable(client)
    if (state !== undefined && view(state).epoch < this.#server.epoch) {
      assert.ok(client.hasMissed)
      client.isStuck = true
    }
  }

  /** A member wins the epoch with a commit that nobody can follow, and is left out of what comes after. */
  async #poison(client: Client): Promise<void> {
    const { server, state } = this.#sendable(client)
    if (state === undefined || client.pending !== undefined || server.roster.length < 4) return
    if (view(state).epoch !== server.epoch || server.poisoner !== undefined) return
    const forged = await tampered(this.#room(client.device), client.device, (commit) => {
      const nodes = commit.path?.nodes.map((node) => ({ ...node, encryptedPathSecret: [] }))
      assert.ok(commit.path && nodes)
      return { commit: { ...commit, path: { ...commit.path, nodes } } }
    })
    this.#accept(client.device, { ...forged, epoch: server.epoch, welcomes: [] }, true)
    server.poisoner = client.device
    this.#count('poisoned')
  }

  /** What clients do about a conversation that has broken for them: rejoin, or create it anew. */
  async #repair(): Promise<void> {
    for (const client of this.#clients.values()) {
      const hasTakenAll = client.at === this.#server.log.length
      if (!client.isStuck || !hasTakenAll || this.#server.poisoner !== undefined) continue
      if (this.#isOnRoster(client)) await this.#rejoin(client)
      else this.#giveUp(client)
    }
    const { poisoner } = this.#server
    if (poisoner === undefined) return
    const stuck = [...this.#clients.values()].find(
      (client) => client.isStuck && client.state !== undefined && client.device.owner !== poisoner.owner,
    )
    if (stuck?.state !== undefined) await this.#recreate(stuck, stuck.state, poisoner)
  }

  async #rejoin(client: Client): Promise<void> {
    const { server } = this.#sendable(client)
    if (client.isRejoining) return
    const shown = { ...server.id, ...server.shown }
    const known = client.state && view(client.state)
    const staged = await stageRejoin(client.device.self, shown, {
      ...this.#world.sending(client.device),
      list: newest(client.device.owner),
      lists: this.#world.lists,
      newestEpoch: known?.generation === server.id.generation ? known.epoch : 0,
    })
    assert.ok(staged.kind === 'staged', JSON.stringify(staged))
    client.state = undefined
    client.isRejoining = true
    client.pending = staged.pending
    this.#accept(client.device, staged)
    this.#count('rejoined')
  }

  async #recreate(client: Client, state: ConversationState, poisoner: TestDevice): Promise<void> {
    const { self, owner } = client.device
    const made = await recreate(state, self, newest(owner), { without: poisoner.self.account })
    const others = this.#server.roster.filter((device) => device !== client.device && device.owner !== poisoner.owner)
    this.#recreatedFrom = view(state).epoch
    Object.assign(this.#server, {
      id: { ...this.#server.id, generation: this.#server.id.generation + 1 },
      epoch: 0,
      floor: 0,
      roster: [client.device],
      poisoner: undefined,
    } satisfies Partial<Server>)
    for (const left of this.#clients.values()) if (left.device.owner === poisoner.owner) this.#giveUp(left)
    Object.assign(client, {
      state: made.state,
      at: this.#server.log.length,
      since: 0,
      isStuck: false,
      hasMissed: false,
      pending: undefined,
    })
    if (others.length > 0) assert.ok(await this.#commit(client, await this.#adding(others)))
    this.#count('recreated')
  }

  /** The device has no place any more, and starts from here if it gets one again. */
  #giveUp(client: Client): void {
    Object.assign(client, newClient(client.device), { read: client.read, at: this.#server.log.length })
  }

  /** The next so many items; the server may hold a message back, give it twice, or never. */
  async #take(client: Client, items: number): Promise<void> {
    for (let taken = 0; taken < items && client.at < this.#server.log.length; taken++) {
      const item = this.#server.log[client.at]
      assert.ok(item)
      client.at++
      if (!item.to.includes(client.device)) continue
      if (item.kind === 'commit') await this.#takeCommit(client, item)
      else await this.#takeMessage(client, item)
    }
  }

  async #takeAll(): Promise<void> {
    for (const client of this.#clients.values()) await this.#take(client, Number.POSITIVE_INFINITY)
  }

  async #takeMessage(client: Client, item: Posted): Promise<void> {
    const fate = this.#roll(20)
    if (fate === 0) return // lost
    if (fate === 1) client.late.push(item)
    else await this.#open(client, item)
    if (fate === 2) await this.#open(client, item)
  }

  async #takeLate(client: Client): Promise<void> {
    for (const item of this.#shuffled(client.late.splice(0))) await this.#open(client, item)
  }

  async #open(client: Client, item: Posted): Promise<void> {
    const { state, device } = client
    if (state === undefined || client.isStuck) return
    const { generation, epoch } = view(state)
    const opened = await open(state, item.sealed)
    client.state = opened.state
    const wasRead = client.read.get(Number(item.text))
    if (opened.kind === 'opened') {
      const { content, sender } = opened.message
      assert.deepEqual(content, { kind: 'text', body: { text: item.text } })
      assert.deepEqual(sender.device, item.by.self.device)
      assert.equal(wasRead, undefined, 'a message is shown once')
      client.read.set(Number(item.text), item.text)
      this.#count('read')
      return
    }
    this.#count(opened.reason)
    const isReadable = generation === item.id.generation && item.epoch >= client.since
    const isClose = item.epoch >= epoch - 3 && item.epoch >= this.#lastRemovalBefore(item.id.generation, epoch)
    if (opened.reason === 'early')
      client.isStuck = true // commits are missing
    else if (opened.reason === 'gone') assert.ok(!isReadable || !isClose, 'what is not too old is readable')
    else if (opened.reason === 'repeated') assert.notEqual(wasRead, undefined)
    else assert.ok(!isReadable, `${opened.reason} at ${device.owner.account.name}`)
  }

  /** The floor as it was when the conversation came to this epoch. */
  #lastRemovalBefore(generation: number, epoch: number): number {
    let roster: readonly Uint8Array[] = []
    let floor = 0
    for (const item of this.#server.log) {
      if (item.kind !== 'commit' || item.id.generation !== generation || item.epoch >= epoch) continue
      const { roster: after } = item.arrived
      if (roster.some((device) => !after.some((each) => sameBytes(each, device)))) floor = item.epoch + 1
      roster = after
    }
    return floor
  }

  async #takeCommit(client: Client, item: Committed): Promise<void> {
    if (client.isRejoining && client.pending !== undefined) {
      const state = await confirmRejoin(client.device.self, item.arrived, client.pending)
      if (state !== undefined) this.#settleIn(client, state)
      return
    }
    const { state } = client
    const isOfThisGeneration = state !== undefined && view(state).generation === item.id.generation
    if (!isOfThisGeneration) return this.#takeWelcome(client, item)
    if (client.isStuck) return
    const { lists } = this.#world
    const applied = await applyCommit(state, item.arrived, { lists, pending: client.pending })
    client.pending = undefined
    switch (applied.kind) {
      case 'applied':
        assert.equal(item.isPoisoned, false)
        client.state = applied.state
        break
      case 'removed':
        client.former.push({ state, at: client.at })
        client.state = undefined
        break
      case 'early':
        assert.ok(client.hasMissed)
        client.isStuck = true
        break
      case 'stuck':
        assert.ok(item.isPoisoned, applied.explanation)
        client.isStuck = true
        break
      case 'passed':
        assert.ok(item.epoch < client.since)
        break
      case 'fork':
      case 'needs':
        assert.equal(applied.kind, 'applied')
    }
  }

  async #takeWelcome(client: Client, item: Committed): Promise<void> {
    const { device } = client
    const mine = item.welcomes.find(({ devices }) => devices.some((each) => sameBytes(each, device.self.device)))
    if (mine === undefined) return
    const arrived = { ...item.id, sender: item.by.self.device, welcome: mine.welcome, tree: item.tree }
    const memory = { packages: device.packages, isHeld: false, wasSeen: () => false }
    const joined = await joinFromWelcome(device.self, arrived, { lists: this.#world.lists, memory })
    assert.ok(joined.kind === 'joined', JSON.stringify(joined))
    const { state } = client
    if (state !== undefined && view(state).epoch === this.#recreatedFrom) assert.ok(isContinuation(state, joined.state))
    device.packages.splice(
      device.packages.findIndex(({ ref }) => sameBytes(ref, joined.usedPackage)),
      1,
    )
    this.#settleIn(client, joined.state)
    this.#count('joined')
  }

  #settleIn(client: Client, state: ConversationState): void {
    const { epoch } = view(state)
    Object.assign(client, {
      state,
      since: epoch,
      pending: undefined,
      isRejoining: false,
      isStuck: false,
      hasMissed: false,
    })
  }

  /** Nothing that was sealed after a device was taken out can be opened by what it had then. */
  async #stayBlind({ former }: Client): Promise<void> {
    for (const { state, at } of former)
      for (const item of this.#server.log.slice(at, at + 20)) {
        if (item.kind !== 'message') continue
        const opened = await open(state, item.sealed)
        assert.equal(opened.kind, 'unopened')
        this.#count('blind')
      }
  }

  async #adding(devices: readonly TestDevice[]): Promise<Wish> {
    const made = await Promise.all(devices.map((device) => packageOf(device, 'x25519')))
    return { kind: 'add', keyPackages: made.map(({ keyPackage }) => keyPackage) }
  }

  /** Whether an honest client would try. */
  #may(state: ConversationState, client: Client, target: TestDevice, what: 'add' | 'remove'): boolean {
    const { owners, lists, invited } = view(state)
    const [own, other] = [client.device.self.account, target.self.account]
    const isOwner = owners.some((owner) => sameBytes(owner, own))
    if (what === 'remove') return isOwner || sameBytes(own, other)
    const isHere = lists.some(({ account }) => sameBytes(account, other))
    return isHere || invited.some((account) => sameBytes(account, other)) || isOwner
  }

  #sendable(client: Client): { server: Server; state: ConversationState | undefined } {
    const server = this.#server
    const canSend = this.#isOnRoster(client) && !client.isStuck && !client.isRejoining && client.state !== undefined
    const isCurrent = client.state !== undefined && view(client.state).generation === server.id.generation
    return { server, state: canSend && isCurrent ? client.state : undefined }
  }

  #isOnRoster({ device }: Client): boolean {
    return this.#server.roster.includes(device)
  }

  /** The conversation as the forger of commits wants it. */
  #room(device: TestDevice): Room {
    const room = new Room(this.#world, { id: this.#server.id })
    const { state } = this.#clientOf(device)
    if (state !== undefined) room.seats.set(device, state)
    return room
  }

  #clientOf(device: TestDevice): Client {
    const client = this.#clients.get(device)
    assert.ok(client)
    return client
  }

  #shuffled<T>(items: readonly T[]): readonly T[] {
    return items
      .map((item) => ({ item, at: this.#roll(2 ** 30) }))
      .toSorted((one, other) => one.at - other.at)
      .map(({ item }) => item)
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

function namesOf(devices: readonly TestDevice[]): readonly string[] {
  return devices.map(({ self }) => toHex(self.device)).toSorted()
}

/** A device that is in no conversation. */
function newClient(device: TestDevice): Client {
  return {
    device,
    state: undefined,
    at: 0,
    since: 0,
    pending: undefined,
    isRejoining: false,
    isStuck: false,
    hasMissed: false,
    late: [],
    former: [],
    read: new Map(),
  }
}
