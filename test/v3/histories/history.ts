import assert from 'node:assert/strict'
import { ClientError, MemoryStore, register, systemRandom } from '@messageu/client'
import { newWords } from '@messageu/e2ee'
import { type ConversationId, fromBase64url, parseLink, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { doings, type Kind } from './doings.ts'
import type { Departure, Forgotten, Renaming, Said } from './past.ts'
import { Phone } from './phone.ts'
import { Town } from './town.ts'
import { wrongs } from './wrongs.ts'

const never = new AbortController().signal
const names = ['alice', 'bob', 'carol', 'dave', 'erin']
/** Minutes that things may take to settle when everybody is back. */
const settlingMax = 12

export interface Options {
  readonly seed: number
  readonly steps: number
  /** What happens beside talking, and changes in groups. */
  readonly kinds: ReadonlySet<Kind>
  readonly tell?: (what: string) => void
}

/** A group as somebody sees it. */
interface SeenGroup {
  readonly id: ConversationId
  readonly name: string
  readonly members: readonly string[]
}

/** People at a real server who do what dice say, and what came of it. */
export class History {
  readonly town: Town
  readonly roll: (below: number) => number
  readonly phones: Phone[] = []
  readonly words = new Map<string, ReturnType<typeof newWords>>()
  readonly titles = new Map<string, string>()
  readonly said: Said[] = []
  readonly departures: Departure[] = []
  readonly renames: Renaming[] = []
  readonly forgotten: Forgotten[] = []
  /** What nobody should see, whatever happens. */
  readonly oddities: string[] = []
  /** A copy of the server's data that it may go on from. */
  copy: { readonly name: string; readonly recorded: number } | undefined
  /** How much the ledger knew when time was last let go by. */
  agedAt = 0
  readonly tell: (what: string) => void
  readonly #underWay = new Map<string, { by: Phone; run: unknown }>()

  constructor(town: Town, { seed, tell = () => {} }: Options) {
    this.town = town
    this.roll = dice(seed)
    this.tell = (what) => tell(`${(town.clock.monotonicMs() / 1000).toFixed(1)} ${what}`)
  }

  get alive(): Phone[] {
    return this.phones.filter(({ isDropped }) => !isDropped)
  }

  get online(): Phone[] {
    return this.alive.filter(({ isOnline }) => isOnline)
  }

  oneOf<T>(all: readonly T[]): T | undefined {
    return all[this.roll(Math.max(1, all.length))]
  }

  /** Somebody does something, and nobody waits for it. */
  begin(what: string, by: Phone, work: () => Promise<unknown>): void {
    this.#underWay.set(what, { by, run: by.runs.at(-1) })
    this.tell(`${by.name} begins: ${what}`)
    void this.#see(what, work).finally(() => this.#underWay.delete(what))
  }

  async #see(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
      this.tell(`done: ${what}`)
    } catch (error) {
      this.tell(`not done: ${what}: ${error}`)
      const isExpected = error instanceof ClientError || error instanceof RefusedError
      if (!isExpected) this.oddities.push(`${what}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  comes(phone: Phone): void {
    this.tell(`${phone.name} comes`)
    // it may have been taken off its list on the way, by somebody who has not been told so yet: that shows in the end
    phone.comeOnline().catch((error: unknown) => {
      phone.ends.push(error instanceof Error ? error : new Error(String(error)))
    })
  }

  note(conversation: ConversationId, title: string): void {
    const id = toBase64url(conversation)
    if (!this.titles.has(id)) this.titles.set(id, title)
  }

  /** One of the groups that somebody is in, or was asked into. */
  async groupOf(phone: Phone): Promise<SeenGroup | undefined> {
    const known = await Array.fromAsync(phone.client.conversations())
    const groups = known.filter(
      ({ kind, standing }) => kind === 'group' && standing !== 'removed' && standing !== 'left',
    )
    const group = this.oneOf(groups)
    if (group === undefined) return undefined
    const { conversation: id, members } = group
    return { id, name: this.titles.get(toBase64url(id)) ?? '?', members: members.map(({ name }) => name) }
  }

  say(phone: Phone, text: string, { id, name }: Pick<SeenGroup, 'id' | 'name'>): void {
    const said: Said = { by: phone, text, conversation: toBase64url(id), title: name, begunAt: this.town.ledger.now }
    this.said.push(said)
    this.begin(`"${text}" to ${name}`, phone, async () => {
      said.sequence = (await phone.client.sendTo(id, { text }, { signal: never })).sequence
      said.acceptedAt = this.town.ledger.now
    })
  }

  async acceptAll(phone: Phone): Promise<void> {
    for (const { name } of await phone.client.requests({ signal: never })) {
      this.tell(`${phone.name} accepts ${name}`)
      await phone.client.judge(name, 'accept', { signal: never })
    }
  }

  async people(kinds: ReadonlySet<Kind>): Promise<void> {
    for (const name of names.slice(0, 4 + this.roll(2))) {
      const [store, words] = [new MemoryStore(), newWords(systemRandom)]
      const { link, world } = this.town
      const { identity } = await register({ link: parseLink(link), name, words, store, world, signal: never })
      this.words.set(name, words)
      const phone = new Phone(this.town, { name, person: name, store, identity })
      this.phones.push(phone)
      await this.town.over(phone.comeOnline())
    }
    for (const [i, one] of this.phones.entries())
      for (const other of this.phones.slice(i + 1)) {
        if (kinds.has('strangers') && this.roll(4) === 0) continue
        await this.town.over(other.client.judge(one.name, 'accept', { signal: never }))
        await this.town.over(one.client.judge(other.name, 'accept', { signal: never }))
      }
  }

  /** Everybody comes, everything settles, and everybody says something wherever they are. */
  async settle(): Promise<void> {
    const { town } = this
    this.tell('in the end')
    if (!town.isServed) await town.startServer()
    for (let minute = 0; minute < settlingMax; minute++) {
      for (const phone of this.alive) {
        phone.liveOn()
        if (!phone.isOnline) this.comes(phone)
      }
      await town.pass(60_000)
      if (minute === 1)
        for (const phone of this.online) this.begin(`${phone.name} accepts all`, phone, () => this.acceptAll(phone))
      if (minute >= 3 && this.#unfinished().length === 0) break
    }
    for (const [id, name] of this.titles) {
      const conversation = fromBase64url(id) as ConversationId // it was one before it was written down
      for (const phone of this.online) {
        const known = await phone.client.describe(conversation)
        if (known?.standing === 'active') this.say(phone, `end by ${phone.name} in ${name}`, { id: conversation, name })
      }
      await town.pass(2_000)
    }
    await town.pass(60_000)
    for (const what of this.#unfinished()) this.oddities.push(`it is never over: ${what}`)
    for (const phone of this.alive)
      if (!phone.isOnline)
        this.oddities.push(`${phone.name} does not come: ${phone.ends.map(({ message }) => message)}`)
  }

  /** Works of those who are gone are over. */
  #unfinished(): string[] {
    const isGoing = ({ by, run }: { by: Phone; run: unknown }): boolean =>
      by.runs.at(-1) === run && by.isOnline && !by.isDropped
    return [...this.#underWay].filter(([, work]) => isGoing(work)).map(([what]) => what)
  }
}

/** Lives through a history. Everything that is wrong in the end, in words. */
export async function live(options: Options): Promise<readonly string[]> {
  await using town = await Town.start()
  const history = new History(town, options)
  await history.people(options.kinds)
  const possible = doings.filter(({ kind }) => kind === undefined || options.kinds.has(kind))
  const all = possible.flatMap((doing) => Array.from({ length: doing.often }, () => doing))
  for (let step = 0; step < options.steps; step++) {
    const doing = step < 2 ? possible.find(({ name }) => name === 'make a group') : history.oneOf(all)
    assert(doing !== undefined, 'there is something to do')
    await doing.do(history, step)
    if (step < 2) await town.pass(2_000)
    if (history.roll(3) === 0) await town.quiet()
    if (history.roll(4) === 0) await town.pass(history.roll(5_000))
  }
  await history.settle()
  const found = history.oddities.length > 0 ? history.oddities : await wrongs(history)
  for (const phone of history.alive) await phone.goOffline()
  await town.endServer('stop')
  return [...found, ...town.mistakes.map((line) => `the server: ${line}`)]
}

/** Dice that fall the same way for the same seed: xorshift32. */
function dice(seed: number): (below: number) => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1
  const roll = (below: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
  for (let i = 0; i < 10; i++) roll(2) // seeds beside each other begin alike
  return roll
}
