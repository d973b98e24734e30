/**
 * Plays clients, remembers what the server told them, and judges it in the end. It never looks into the server's
 * files: what should be there follows from the answers alone.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { type Address, breakOffFetch, type FetchedMessage, fetch, list, publicKeyOf, register, send } from './v2peer.ts'

interface Person {
  readonly name: string
  readonly id: string
  /** Hexadecimal, like the id. */
  readonly publicKey: string
}

/** What a send came to, as its client knows it. `unknown`: no answer, so it may have happened or not. */
type SendOutcome = 'accepted' | 'refused' | 'unknown'

interface Sent {
  readonly from: string
  readonly to: string
  readonly digest: string
  /** Ticks of the oracle's own clock: what was told before something else began. */
  readonly beganAt: number
  toldAt: number
  outcome: SendOutcome
  id: number | undefined
  /** The life of the server in which it was delivered for the first time. */
  deliveredIn: number | undefined
  /** A later fetch was answered without it: its removal is known, and it must not come again. */
  gone: boolean
}

export class Oracle {
  readonly problems: string[] = []
  /** Every id that was told, for tests about what follows a restore. */
  highestId = 0
  #server: Address | undefined
  #people = new Map<string, Person>()
  #unknownNames = new Set<string>()
  #sent = new Map<string, Sent>()
  /** The id of the newest message that each mailbox saw for the first time. */
  #newest = new Map<string, number>()
  #clock = 0
  #life = 0
  #serial = 0

  /** Knows the same, and learns on its own from here. */
  copy(): Oracle {
    const copy = new Oracle()
    copy.highestId = this.highestId
    copy.#people = new Map(this.#people)
    copy.#unknownNames = new Set(this.#unknownNames)
    copy.#sent = structuredClone(this.#sent)
    copy.#newest = new Map(this.#newest)
    copy.#clock = this.#clock
    copy.#life = this.#life
    copy.#serial = this.#serial
    return copy
  }

  /** The server's address from now on. What was delivered may come once more, because the removal may be lost. */
  meet(server: Address): void {
    this.#server = server
    this.#life += 1
  }

  get accepted(): number {
    return [...this.#sent.values()].filter(({ outcome }) => outcome === 'accepted').length
  }

  get refused(): number {
    return [...this.#sent.values()].filter(({ outcome }) => outcome === 'refused').length
  }

  /** Accepted, and not yet delivered. */
  get waiting(): number {
    return [...this.#sent.values()].filter(({ outcome, deliveredIn }) => outcome === 'accepted' && !deliveredIn).length
  }

  idOf(name: string): string | undefined {
    return this.#people.get(name)?.id
  }

  async register(name: string): Promise<void> {
    const publicKey = randomBytes(160)
    const told = await register(this.#address, name, publicKey)
    if (told.kind === 'answer') this.#people.set(name, { name, id: told.value, publicKey: publicKey.toString('hex') })
    else if (told.kind === 'unknown') this.#unknownNames.add(name)
    else if (!this.#unknownNames.has(name)) this.problems.push(`${name} was refused a name that nobody has`)
  }

  /** Sends `bytes` bytes that no other message has. Does nothing for people whose registration is not certain. */
  async send(from: string, to: string, bytes: number): Promise<SendOutcome | undefined> {
    const sender = this.#people.get(from)
    const recipient = this.#people.get(to)
    if (sender === undefined || recipient === undefined) return undefined
    const content = uniqueContent(this.#serial++, bytes)
    const digest = digestOf(content)
    const beganAt = this.#clock++
    const sent: Sent = {
      ...{ from: sender.id, to: recipient.id, digest, beganAt, toldAt: Number.POSITIVE_INFINITY },
      ...{ outcome: 'unknown', id: undefined, deliveredIn: undefined, gone: false },
    }
    this.#sent.set(digest, sent)
    const told = await send(this.#address, sender.id, recipient.id, content)
    if (told.kind === 'unknown') return 'unknown'
    sent.toldAt = this.#clock++
    sent.outcome = told.kind === 'answer' ? 'accepted' : 'refused'
    if (told.kind === 'answer') this.#learnId(sent, told.value)
    return sent.outcome
  }

  /** Fetches and closes in good order. Undefined: the fetch broke off or was refused. */
  async fetch(name: string): Promise<number | undefined> {
    const person = this.#people.get(name)
    if (person === undefined) return undefined
    const told = await fetch(this.#address, person.id)
    if (told.kind !== 'answer') return undefined
    this.#delivered(person, told.value)
    return told.value.length
  }

  async breakOffFetch(name: string): Promise<void> {
    const person = this.#people.get(name)
    if (person !== undefined) await breakOffFetch(this.#address, person.id)
  }

  /** Fetches everything twice, looks everybody up, and throws what is wrong. To be asked of a server that is well. */
  async judge(): Promise<void> {
    for (const round of ['what waits', 'nothing'])
      for (const { name } of this.#people.values()) {
        const count = await this.fetch(name)
        if (count === undefined) this.problems.push(`${name} cannot fetch`)
        else if (round === 'nothing' && count > 0) this.problems.push(`${name} fetches ${count} messages again`)
      }
    for (const sent of this.#sent.values())
      if (sent.outcome === 'accepted' && sent.deliveredIn === undefined)
        this.problems.push(`message ${sent.id} was accepted and is lost`)
    this.#judgeOrder()
    await this.#judgePeople()
    this.throwProblems()
  }

  throwProblems(): void {
    assert.deepEqual(this.problems, [])
  }

  get #address(): Address {
    assert(this.#server !== undefined, 'the oracle has met no server yet')
    return this.#server
  }

  #delivered(recipient: Person, messages: readonly FetchedMessage[]): void {
    const seen = new Set<Sent>()
    let before = 0
    for (const { id, from, content } of messages) {
      const sent = this.#sent.get(digestOf(content))
      if (sent === undefined || sent.from !== from || sent.to !== recipient.id) {
        this.problems.push(`${recipient.name} got message ${id} of ${content.length} bytes, which nobody sent`)
        continue
      }
      if (sent.outcome === 'refused') this.problems.push(`${recipient.name} got message ${id}, which was refused`)
      if (seen.has(sent)) this.problems.push(`${recipient.name} got message ${id} twice in one fetch`)
      if (id <= before) this.problems.push(`${recipient.name} got message ${id} after ${before}`)
      seen.add(sent)
      before = id
      this.#learnId(sent, id)
      if (sent.deliveredIn === undefined) this.#first(recipient, sent, id)
      else if (sent.gone) this.problems.push(`${recipient.name} got message ${id} again after its removal was known`)
      else if (sent.deliveredIn === this.#life) this.problems.push(`${recipient.name} got message ${id} again`)
    }
    for (const sent of this.#sent.values())
      if (sent.to === recipient.id && sent.deliveredIn !== undefined && !seen.has(sent)) sent.gone = true
  }

  #first(recipient: Person, sent: Sent, id: number): void {
    sent.deliveredIn = this.#life
    const newest = this.#newest.get(recipient.id) ?? 0
    if (id < newest) this.problems.push(`${recipient.name} got message ${id} only after ${newest}`)
    this.#newest.set(recipient.id, id)
  }

  #learnId(sent: Sent, id: number): void {
    if (sent.id !== undefined && sent.id !== id) this.problems.push(`message ${sent.id} came as ${id}`)
    sent.id = id
    this.highestId = Math.max(this.highestId, id)
  }

  /** Ids are unique, and a message that was accepted before another one was sent is the older one. */
  #judgeOrder(): void {
    const known = [...this.#sent.values()].filter(({ id }) => id !== undefined)
    if (new Set(known.map(({ id }) => id)).size !== known.length) this.problems.push('an id was used twice')
    const byBegin = known.toSorted((a, b) => a.beganAt - b.beganAt)
    const byTold = known.filter(({ outcome }) => outcome === 'accepted').sort((a, b) => a.toldAt - b.toldAt)
    let highestTold = 0
    let told = 0
    for (const { id = 0, beganAt } of byBegin) {
      for (; (byTold[told]?.toldAt ?? Number.POSITIVE_INFINITY) < beganAt; told++)
        highestTold = Math.max(highestTold, byTold[told]?.id ?? 0)
      if (id <= highestTold) this.problems.push(`message ${id} was sent after ${highestTold} had been accepted`)
    }
  }

  /** Whoever was told an id is listed, with the same key; nobody else but those who were told nothing. */
  async #judgePeople(): Promise<void> {
    const [first, ...others] = this.#people.values()
    if (first === undefined) return
    const listed = await list(this.#address, first.id)
    if (listed.kind !== 'answer') {
      this.problems.push('the list cannot be had')
      return
    }
    const known = listed.value.filter(({ name }) => !this.#unknownNames.has(name) || this.#people.has(name))
    const expected = others.map(({ id, name }) => ({ id, name }))
    const sorted = (people: readonly { id: string }[]) => people.toSorted((a, b) => a.id.localeCompare(b.id))
    if (JSON.stringify(sorted(known)) !== JSON.stringify(sorted(expected)))
      this.problems.push(`the list has ${known.map(({ name }) => name)}, not ${expected.map(({ name }) => name)}`)
    for (const { id, name, publicKey } of this.#people.values()) {
      const key = await publicKeyOf(this.#address, first.id, id)
      if (key.kind !== 'answer' || key.value.toString('hex') !== publicKey)
        this.problems.push(`the key of ${name} is another one`)
    }
  }
}

function digestOf(content: Buffer): string {
  return createHash('sha256').update(content).digest('base64')
}

function uniqueContent(serial: number, bytes: number): Buffer {
  const seed = createHash('sha256').update(`content ${serial}`).digest()
  return Buffer.alloc(Math.max(bytes, 8), seed)
}
