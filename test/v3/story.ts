import assert from 'node:assert/strict'
import { decode } from '@messageu/protocol'
import { type ConversationId, type Delivery, type OperationName, RefusedError, SendId } from '@messageu/protocol/v3'
import type { Address } from '../v2peer.ts'
import {
  type Identity,
  NoAnswer,
  newConversation,
  newIdentity,
  Peer,
  type RequestOf,
  type ResponseOf,
  random,
} from './peer.ts'

const names = ['alice', 'bob', 'carol'] as const
type Name = (typeof names)[number]

/** What is said by whom, in which epoch and how large: some of it goes into the database, some into files. */
// biome-ignore format: the columns are the point
const chapters: readonly (readonly { by: Name; bytes: number }[])[] = [
  [{ by: 'alice', bytes: 20 }],
  [{ by: 'bob', bytes: 3000 }, { by: 'carol', bytes: 70_000 }, { by: 'alice', bytes: 500 }],
  [{ by: 'carol', bytes: 10 }, { by: 'bob', bytes: 200_000 }, { by: 'alice', bytes: 90_000 }],
  [{ by: 'alice', bytes: 33 }, { by: 'bob', bytes: 34 }, { by: 'carol', bytes: 35 }],
]

/**
 * Three people, what they do, and what they were told. It may be told again after the server was gone: then everything
 * is asked again with the same bytes, and whatever was answered before must be answered the same. It looks at nothing
 * of the server's.
 */
export class Story {
  readonly #identities = new Map<Name, Identity>()
  readonly #peers = new Map<Name, Peer>()
  /** Every request that was ever made, by what it is in the story. */
  readonly #requests = new Map<string, unknown>()
  readonly #answers = new Map<string, unknown>()
  readonly #numbers = new Map<Name, number>()
  readonly #conversation = newConversation()
  /** Up to where Bob has asked the server to forget, and up to where it has said that it did. */
  readonly #acknowledgements = { asked: 0, done: 0 }
  #missesAnAnswer: boolean

  /** Whether Bob leaves at the first telling before he hears that his acknowledgement was done. */
  constructor({ bobMissesAnAnswer = false } = {}) {
    this.#missesAnAnswer = bobMissesAnAnswer
  }

  /** To the end. Rejects with `NoAnswer` or `Rejected` when the server is gone. */
  async tell(server: { http: Address; link: string }): Promise<void> {
    try {
      await Promise.all(names.map((name) => this.#arrive(name, server)))
      for (const one of names)
        for (const other of names)
          if (one !== other)
            await this.#ask(one, `judges ${other}`, 'judge', () => ({
              account: this.#peer(other).account,
              verdict: 'accept',
            }))
      await this.#create()
      for (const [epoch, chapter] of chapters.entries()) {
        await this.#ask('alice', `commits ${epoch}`, 'commit', () => this.#commitIn(epoch))
        await Promise.all(chapter.map(({ by, bytes }, i) => this.#say(by, `says ${epoch} ${i}`, epoch + 1, bytes)))
        if (epoch === 1) await this.#bobTakesWhatThereIs(server.link)
      }
    } finally {
      for (const peer of this.#peers.values()) peer[Symbol.dispose]()
    }
  }

  /** Asserts that everything that was promised is there, once, in one order, for everybody. I1 I2 I3 I7 */
  async judge(server: { http: Address; link: string }): Promise<void> {
    const orders = await Promise.all(names.map((name) => this.#heardBy(name, server)))
    const at = new Map<number, string>()
    for (const order of orders)
      for (const { sequence, kind, sealed } of order) {
        const what = `${kind} ${Buffer.from(sealed).toString('base64')}`
        assert.equal(at.get(sequence) ?? what, what, `one thing at sequence ${sequence}`)
        at.set(sequence, what)
      }
    const said = chapters.flat().length
    assert.equal(at.size, said + chapters.length, 'what was said and committed, and nothing else')
    const told = [...this.#answers].filter(([what]) => / (?:says|commits) /.test(what))
    for (const [what, answer] of told) assert(at.has((answer as ResponseOf<'send'>).sequence), what)
    const carol = orders[2]?.filter(({ kind }) => kind === 'application').map(({ sealed }) => sealed.length)
    const others = chapters.flat().filter(({ by }) => by !== 'carol')
    assert.deepEqual(carol?.toSorted(), others.map(({ bytes }) => bytes).toSorted())
  }

  async #arrive(name: Name, { http, link }: { http: Address; link: string }): Promise<void> {
    const identity = this.#identities.get(name) ?? (await newIdentity(link, name))
    this.#identities.set(name, identity)
    const peer = new Peer(identity, http.port)
    this.#peers.set(name, peer)
    await peer.connect()
    await this.#ask(name, 'registers', 'register', () => peer.registration)
    const { acknowledged } = await peer.prove()
    if (name === 'bob') this.#learns(acknowledged)
  }

  /** Asks what was asked at this place of the story before, if it was. */
  async #ask<N extends OperationName>(
    by: Name,
    what: string,
    name: N,
    make: () => RequestOf<N>,
  ): Promise<ResponseOf<N>> {
    const place = `${by} ${what}`
    // at one place of the story stands one operation
    const request = (this.#requests.has(place) ? this.#requests.get(place) : make()) as RequestOf<N>
    this.#requests.set(place, request)
    const answer = await this.#peer(by).ask(name, request)
    if (name === 'send' || name === 'commit' || name === 'register')
      assert.deepEqual(answer, this.#answers.get(place) ?? answer, `${place}: the answer of the first time`)
    this.#answers.set(place, answer)
    return answer
  }

  /** Who asks again after the first commit is told that the id is in use, and finds that it is by themselves. */
  async #create(): Promise<void> {
    const isRepetition = this.#requests.has('alice creates')
    const request = { conversation: this.#conversation }
    try {
      await this.#ask('alice', 'creates', 'create', () => request)
    } catch (error) {
      if (!isRepetition || !(error instanceof RefusedError) || error.reason !== 'conversation-exists') throw error
      assert.equal((await this.#peer('alice').ask('read-state', request)).kind, 'group')
    }
  }

  #say(by: Name, what: string, epoch: number, bytes: number): Promise<unknown> {
    return this.#ask(by, what, 'send', () => ({
      conversation: this.#conversation,
      generation: 1,
      id: decode(SendId, random(16)),
      number: this.#nextNumber(by),
      epoch,
      sealed: random(bytes),
    }))
  }

  #commitIn(epoch: number): RequestOf<'commit'> {
    const roster = names.map((name) => this.#peer(name).device)
    const commit = this.#peer('alice').newCommit(this.#conversation, epoch, roster)
    return { ...commit, number: this.#nextNumber('alice') }
  }

  async #bobTakesWhatThereIs(link: string): Promise<void> {
    const bob = this.#peer('bob')
    const last = Math.max(
      ...[...this.#answers]
        .filter(([what]) => /^(?:alice|carol) says [01] /.test(what))
        .map(([, answer]) => (answer as ResponseOf<'send'>).position),
    )
    await bob.credit()
    const hasAll = (): boolean => bob.deliveries.some(({ position }) => position >= last)
    await bob.until(() => this.#acknowledgements.done >= last || hasAll())
    this.#isNew(bob.deliveries)
    this.#acknowledgements.asked = last
    if (this.#missesAnAnswer) await this.#leaveUnheard(last, link)
    await bob.ask('acknowledge', { through: last })
    this.#acknowledgements.done = last
  }

  /** Bob acknowledges and hears nothing more. When somebody who comes after that is registered, it is done. */
  async #leaveUnheard(through: number, link: string): Promise<never> {
    this.#missesAnAnswer = false
    const bob = this.#peer('bob')
    bob.wire.socket.pause()
    bob.ask('acknowledge', { through }).catch(() => {}) // nobody waits for it
    using _ = await Peer.register(link, 'dave')
    throw new NoAnswer('Bob has left')
  }

  /** An acknowledgement may be done although nobody was told, and then what it covers does not come again. N06 */
  #learns(acknowledged: number): void {
    const { asked, done } = this.#acknowledgements
    assert(acknowledged === done || acknowledged === asked, `${acknowledged}: ${done} was answered, ${asked} was asked`)
    this.#acknowledgements.done = acknowledged
  }

  #isNew(deliveries: readonly Delivery[]): void {
    const old = deliveries.filter(({ position }) => position <= this.#acknowledgements.done)
    assert.deepEqual(old, [], 'what was acknowledged does not come again')
  }

  /** What a device gets that asks for everything. */
  async #heardBy(name: Name, { http }: { http: Address }): Promise<Delivery[]> {
    const identity = this.#identities.get(name)
    assert(identity !== undefined)
    using peer = new Peer(identity, http.port)
    const { position, acknowledged } = await peer.reconnect()
    if (name === 'bob') this.#learns(acknowledged)
    await peer.credit()
    // what is addressed to nobody else comes last, behind everything that there is
    const end = newConversation()
    await peer.ask('create', { conversation: end })
    const { position: marked } = await peer.ask('commit', peer.newCommit(end, 0, [peer.device]))
    assert(marked > position)
    await peer.until(() => peer.deliveries.some((delivery) => delivery.position === marked))
    const heard = peer.deliveries.filter(({ conversation }) => isSame(conversation, this.#conversation))
    for (const [i, { sequence }] of heard.entries()) assert(i === 0 || sequence > (heard[i - 1]?.sequence ?? 0))
    if (name === 'bob') this.#isNew(heard)
    return heard
  }

  #nextNumber(name: Name): number {
    const number = (this.#numbers.get(name) ?? 0) + 1
    this.#numbers.set(name, number)
    return number
  }

  #peer(name: Name): Peer {
    const peer = this.#peers.get(name)
    assert(peer !== undefined, `${name} has come`)
    return peer
  }
}

function isSame(one: ConversationId, other: ConversationId): boolean {
  return Buffer.compare(one, other) === 0
}
