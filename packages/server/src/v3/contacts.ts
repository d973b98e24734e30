import { type ContactRequest, limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import {
  noOpinion,
  noTally,
  type Opinion,
  opinionKey,
  putOpinion,
  putRequest,
  putTally,
  readOpinion,
  readRequest,
  readTally,
  type Tally,
  tallyKey,
  type WaitingRequest,
} from './contactrecords.ts'
import { Recent } from './recent.ts'
import type { Account, Contacts, Directory, Standing } from './services.ts'
import { Turns } from './turns.ts'

type Verdict = Parameters<Contacts['judge']>[2]

const opinionsHeld = 200_000
const talliesHeld = 20_000
/** What a stranger has sent is stored this often: a restart gives back less than this. */
export const unsavedMax = { messages: 8, bytes: 131_072 } as const
/** Pairs of accounts with something that is not stored; above that, all of it is. */
const unsavedPairsMax = 10_000

interface Sent {
  readonly messages: number
  readonly bytes: number
}

/** An opinion that becomes another one. */
interface Change {
  readonly of: Account
  readonly about: Account
  readonly from: Opinion
  readonly to: Opinion
  /** What begins to wait, at the place `to.request`. */
  readonly request?: WaitingRequest
  /** What is stored by it, and was in memory only. */
  readonly saved?: Sent
}

/**
 * What accounts think of each other, over an archive. Whatever changes what one account thinks happens one after the
 * other. Protocol 3 §8.
 */
export class ArchiveContacts implements Contacts {
  readonly #archive: Archive
  readonly #directory: Pick<Directory, 'accountByNumber'>
  readonly #turns = new Turns()
  readonly #opinions = new Recent<Opinion>(opinionsHeld)
  readonly #tallies = new Recent<Tally>(talliesHeld)
  /** What strangers have sent beyond what is stored. */
  readonly #unsaved = new Map<string, Sent>()

  constructor(archive: Archive, directory: Pick<Directory, 'accountByNumber'>) {
    this.#archive = archive
    this.#directory = directory
  }

  async standing(from: Account, to: Account): Promise<Standing> {
    return from.number === to.number ? 'accepted' : standingAfter(await this.#opinion(to, from))
  }

  peekStanding(from: Account, to: Account): Standing | undefined {
    if (from.number === to.number) return 'accepted'
    const opinion = this.#opinions.get(pairOf(to, from))
    return opinion && standingAfter(opinion)
  }

  async judge(of: Account, other: Account, verdict: Verdict): Promise<void> {
    if (of.number === other.number) throw new RefusedError('not-permitted', 'nobody judges their own account')
    await this.#turns.take([turnOf(of)], async () => {
      const from = await this.#opinion(of, other)
      await this.#change([{ of, about: other, from, to: judged(from, verdict) }])
    })
  }

  /** Whoever begins a conversation accepts the other, unless they have blocked them. */
  async noteRequest(from: Account, to: Account, { conversation, at }: ContactRequest): Promise<void> {
    await this.#turns.take([turnOf(from), turnOf(to)], async () => {
      const [mine, theirs] = [await this.#opinion(from, to), await this.#opinion(to, from)]
      if (theirs.verdict === 'blocked' || theirs.verdict === 'refused') throw unwelcome()
      const accepting = mine.verdict === 'blocked' ? mine : judged(mine, 'accept')
      const changes: Change[] = [{ of: from, about: to, from: mine, to: accepting }]
      if (theirs.verdict === 'none' && theirs.request === 0) {
        const asking = { ...theirs, request: (await this.#tally(to)).requests + 1 }
        const request = { account: from.number, conversation, at }
        changes.push({ of: to, about: from, from: theirs, to: asking, request })
      }
      await this.#change(changes)
    })
  }

  async requests(of: Account): Promise<readonly ContactRequest[]> {
    const range = { prefix: tallyKey(of), after: tallyKey(of), limit: limits.pageMax }
    const waiting = (await this.#archive.scan('contact', range)).map(({ value }) => readRequest(value))
    const requests = waiting.map(async ({ account: number, conversation, at }) => {
      const account = await this.#directory.accountByNumber(number)
      return account && { account: account.id, name: account.name, conversation, at }
    })
    return (await Promise.all(requests)).filter((request) => request !== undefined)
  }

  async chargeStranger(from: Account, to: Account, bytes: number): Promise<void> {
    if (from.number === to.number) return
    const opinion = await this.#opinion(to, from)
    if (opinion.verdict === 'accepted') return
    if (opinion.verdict !== 'none') throw unwelcome()
    const unsaved = this.#count(from, to, { messages: 1, bytes })
    const isOver =
      opinion.messages + unsaved.messages > limits.strangerMessagesMax ||
      opinion.bytes + unsaved.bytes > limits.strangerBytesMax
    try {
      if (isOver) throw new RefusedError('limited', 'no more until the other accepts')
      if (opinion === noOpinion || isMuch(unsaved) || this.#unsaved.size > unsavedPairsMax) await this.#save(from, to)
    } catch (error) {
      this.#count(from, to, { messages: -1, bytes: -bytes })
      throw error
    }
  }

  /** Counts what is not stored yet. */
  #count(from: Account, to: Account, { messages, bytes }: Sent): Sent {
    const key = pairOf(to, from)
    const before = this.#unsaved.get(key) ?? nothingSent
    const unsaved = { messages: before.messages + messages, bytes: before.bytes + bytes }
    if (unsaved.messages === 0 && unsaved.bytes === 0) this.#unsaved.delete(key)
    else this.#unsaved.set(key, unsaved)
    return unsaved
  }

  async #save(from: Account, to: Account): Promise<void> {
    await this.#turns.take([turnOf(to)], async () => {
      const opinion = await this.#opinion(to, from)
      const saved = this.#unsaved.get(pairOf(to, from))
      if (saved === undefined || opinion.verdict !== 'none') return // judged, or stored, meanwhile
      const { messages, bytes } = opinion
      const next = { ...opinion, messages: messages + saved.messages, bytes: bytes + saved.bytes }
      await this.#change([{ of: to, about: from, from: opinion, to: next, saved }])
    })
  }

  /** In the turn of everybody whose opinion it is. */
  async #change(changes: readonly Change[]): Promise<void> {
    const objects: ObjectChange[] = []
    const settled: (() => void)[] = []
    for (const change of changes.filter(({ from, to }) => from !== to)) {
      const tally = tallied(await this.#tally(change.of), change)
      objects.push(...objectsOf(change, tally))
      settled.push(() => this.#settle(change, tally))
    }
    if (objects.length === 0) return
    await this.#archive.step({ objects })
    for (const settle of settled) settle()
  }

  #settle({ of, about, to, saved }: Change, tally: Tally): void {
    this.#opinions.set(pairOf(of, about), to)
    this.#tallies.set(String(of.number), tally)
    if (to.verdict !== 'none') this.#unsaved.delete(pairOf(of, about))
    else if (saved !== undefined) this.#count(about, of, { messages: -saved.messages, bytes: -saved.bytes })
  }

  async #opinion(of: Account, about: Account): Promise<Opinion> {
    const pair = pairOf(of, about)
    const held = this.#opinions.get(pair)
    if (held !== undefined) return held
    const bytes = await this.#archive.get('contact', opinionKey(of, about))
    // what changed while we looked is held by now
    const opinion = this.#opinions.get(pair) ?? (bytes === undefined ? noOpinion : readOpinion(bytes))
    this.#opinions.set(pair, opinion)
    return opinion
  }

  /** In the turn of the account. */
  async #tally(of: Account): Promise<Tally> {
    const held = this.#tallies.get(String(of.number))
    if (held !== undefined) return held
    const bytes = await this.#archive.get('contact', tallyKey(of))
    const tally = bytes === undefined ? noTally : readTally(bytes)
    this.#tallies.set(String(of.number), tally)
    return tally
  }
}

/** How somebody stands with whoever has this opinion. */
function standingAfter({ verdict }: Opinion): Standing {
  if (verdict === 'none') return 'stranger'
  return verdict === 'accepted' ? 'accepted' : 'blocked'
}

/** The opinion after a verdict: the same one where nothing changes. */
function judged(opinion: Opinion, verdict: Verdict): Opinion {
  switch (verdict) {
    case 'accept':
      return decided(opinion, 'accepted')
    case 'refuse':
      return decided(opinion, 'refused')
    case 'block':
      return decided(opinion, 'blocked')
    case 'unblock':
      return opinion.verdict === 'blocked' || opinion.verdict === 'refused' ? noOpinion : opinion
  }
}

function decided(opinion: Opinion, verdict: Opinion['verdict']): Opinion {
  return opinion.verdict === verdict ? opinion : { ...noOpinion, verdict }
}

/** The tally after a change. Throws `limited` when there would be too many. */
function tallied(tally: Tally, { from, to }: Change): Tally {
  const accepted = tally.accepted + Number(isAccepted(to)) - Number(isAccepted(from))
  const others = tally.others + Number(isOther(to)) - Number(isOther(from))
  mustFit(tally.accepted, accepted)
  mustFit(tally.others, others)
  return { accepted, others, requests: Math.max(tally.requests, to.request) }
}

function mustFit(before: number, after: number): void {
  if (after > before && after > limits.contactsPerAccountMax)
    throw new RefusedError('limited', `an account knows at most ${limits.contactsPerAccountMax} others`)
}

const isAccepted = ({ verdict }: Opinion): boolean => verdict === 'accepted'
const isOther = (opinion: Opinion): boolean => opinion !== noOpinion && !isAccepted(opinion)

function objectsOf({ of, about, from, to, request }: Change, tally: Tally): ObjectChange[] {
  const objects = [putOpinion(of, about, to), putTally(of, tally)]
  if (from.request > 0 && to.request === 0) objects.push(putRequest(of, from.request, undefined))
  if (request !== undefined) objects.push(putRequest(of, to.request, request))
  return objects
}

const nothingSent: Sent = { messages: 0, bytes: 0 }

function isMuch({ messages, bytes }: Sent): boolean {
  return messages >= unsavedMax.messages || bytes >= unsavedMax.bytes
}

function unwelcome(): RefusedError {
  return new RefusedError('not-permitted', 'no such account')
}

function turnOf({ number }: Account): string {
  return String(number)
}

function pairOf(of: Account, about: Account): string {
  return `${of.number} ${about.number}`
}
