import { setImmediate } from 'node:timers/promises'
import { type ConversationId, limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { boxOf } from './boxes.ts'
import { type ConversationState, mayRead, open, type Place } from './conversation.ts'
import type { Ledgers } from './ledgers.ts'
import type { LetterRun } from './letterrun.ts'
import { applicationSenderIn, type Letter, sequenceIn } from './letters.ts'
import { framesOf, type LetterBack, sealedBytesOf } from './lettersback.ts'
import { type Found, Mailbox } from './mailbox.ts'
import { Outbound } from './outbound.ts'
import type { Deliveries, Device, Session } from './services.ts'
import type { Shelf } from './shelf.ts'
import type { Trimming } from './trimming.ts'

/** Unsent bytes of one session above which nothing more is pushed: what waits, waits in its box. */
const backlogBytesMax = 2 ** 18
/** What is read back for one session in one go. */
const messagesPerRead = 256
const bytesPerRead = 2 ** 18
/** When a session comes back whose messages could not be read. */
const failedMs = 5_000

export interface DeliveriesParts {
  readonly archive: Archive
  readonly shelf: Shelf
  readonly ledgers: Ledgers
  readonly trimming: Trimming
}

/**
 * Brings to each session what its device has not acknowledged. A session that has everything gets what is accepted as
 * it becomes durable, from memory; any other reads on from the boxes, as far as it has credit and takes what it gets.
 * Nothing is queued for anybody beside that. Protocol 3 §7.
 */
export class ServerDeliveries implements Deliveries {
  readonly #parts: DeliveriesParts
  readonly #outbound = new Map<number, Outbound>()

  constructor(parts: DeliveriesParts) {
    this.#parts = parts
  }

  /** How far a device has read for sure, by the session that it has; undefined without one. */
  passedBy(device: number): number | undefined {
    return this.#outbound.get(device)?.passed
  }

  /** Whether the session of a device has got everything that there is for it. */
  isLive(device: number): boolean {
    return this.#outbound.get(device)?.isLive === true
  }

  async attach(session: Session): Promise<void> {
    const { archive, ledgers, trimming } = this.#parts
    const { device } = session
    const outbound = new Outbound(session)
    const earlier = this.#outbound.get(device.number)
    if (earlier !== undefined) this.detach(earlier.session)
    this.#outbound.set(device.number, outbound)
    const acknowledged = await archive.acknowledged(device.number)
    const mailbox = new Mailbox(archive, acknowledged)
    outbound.begin(mailbox)
    // from here on whatever becomes durable is added; what was there before is found now
    const ledger = await ledgers.of(device.account)
    mailbox.add(boxOf('welcome', device.number), undefined)
    for (const [number, conversation] of ledger.conversations()) {
      const boxes = [boxOf('application', number), boxOf('handshake', number)]
      for (const box of boxes) mailbox.add(box, conversation)
      // trimming may have been told that before the server ended, and not have come to it
      const isPassed = boxes.some((box) => (archive.reader(box, 0).peek()?.position ?? open) <= acknowledged)
      if (isPassed) trimming.note(conversation, device.number)
    }
    outbound.isWhole = true
    session.onDrain(() => this.#resume(outbound))
    this.#go(outbound)
  }

  detach(session: Session): void {
    const outbound = this.#outbound.get(session.device.number)
    if (outbound?.session !== session) return
    this.#outbound.delete(session.device.number)
    this.#parts.trimming.remember(session.device.number, outbound.passed)
  }

  credit(session: Session, { messages, bytes }: { messages: number; bytes: number }): Promise<void> | undefined {
    const outbound = this.#of(session)
    outbound.credit.messages = Math.min(outbound.credit.messages + messages, limits.creditMessagesMax)
    outbound.credit.bytes = Math.min(outbound.credit.bytes + bytes, limits.creditBytesMax)
    if (outbound.isLive) outbound.caughtUp()
    this.#resume(outbound)
    // nobody waits for this answer: it leaves with the one that waits for the disk, in one write
    return outbound.acknowledging?.catch(() => {})
  }

  async acknowledge(session: Session, through: number): Promise<void> {
    const outbound = this.#of(session)
    if (through > outbound.delivered)
      throw new RefusedError('not-permitted', 'more was acknowledged than was delivered')
    outbound.stored = Math.max(outbound.stored, through)
    while (outbound.acknowledged < through) {
      // what comes while one is under way goes into the next one together
      outbound.acknowledging ??= this.#acknowledge(outbound).finally(() => {
        outbound.acknowledging = undefined
      })
      await outbound.acknowledging
    }
    this.#resume(outbound)
  }

  /** A message is durable: whoever has everything before it gets it now, others find it in the box. */
  arrived(letter: Letter, position: number, from: Place, recipients: ReadonlySet<number>): void {
    letter.place(position)
    for (const number of recipients) {
      const outbound = this.#outbound.get(number)
      if (outbound !== undefined) this.#offer(outbound, letter, position, from)
    }
    this.#noteIfAlone(from, recipients)
  }

  /** Messages that were sent in one go are durable. */
  arrivedTogether(
    letters: LetterRun,
    positions: readonly number[],
    from: Place,
    recipients: ReadonlySet<number>,
  ): void {
    for (const number of recipients) {
      const outbound = this.#outbound.get(number)
      if (outbound !== undefined) this.#offerTogether(outbound, letters, positions, from)
    }
    this.#noteIfAlone(from, recipients)
  }

  /** What only its sender could read nobody will ever acknowledge. */
  #noteIfAlone({ conversation }: Place, recipients: ReadonlySet<number>): void {
    const [only] = recipients
    if (recipients.size === 1 && conversation !== undefined) this.#parts.trimming.note(conversation, only)
  }

  #of(session: Session): Outbound {
    const outbound = this.#outbound.get(session.device.number)
    if (outbound?.session !== session) throw new RefusedError('not-permitted', 'another session of the device is newer')
    return outbound
  }

  #offer(outbound: Outbound, letter: Letter, position: number, from: Place): void {
    const { mailbox, session } = outbound
    if (mailbox === undefined || position <= mailbox.place) return // it is found, or was found, in the box
    if (!outbound.isLive || !mayPush(outbound)) this.#leaveInBox(outbound, from)
    else {
      mailbox.pass(position)
      if (isFor(session.device, letter)) push(outbound, letter, { position, conversation: from.conversation })
      else this.#parts.trimming.moved(session.device.number)
    }
  }

  #offerTogether(outbound: Outbound, letters: LetterRun, positions: readonly number[], from: Place): void {
    const { mailbox, session, credit } = outbound
    const last = positions.at(-1) as number // no run is empty
    if (mailbox === undefined || last <= mailbox.place) return
    if (!outbound.isLive || !mayPush(outbound)) this.#leaveInBox(outbound, from)
    else if (letters.sender === session.device.number) {
      mailbox.pass(last)
      this.#parts.trimming.moved(session.device.number)
    } else if (credit.messages >= letters.count && credit.bytes >= letters.sealedBytes) {
      mailbox.pass(last)
      push(outbound, letters.together(positions), { position: last, conversation: from.conversation })
    } else
      for (const [i, position] of positions.entries())
        this.#offer(outbound, letters.letter(i, position), position, from)
  }

  /** It has to wait for its turn, or for credit. */
  #leaveInBox(outbound: Outbound, { box, conversation }: Place): void {
    outbound.isLive = false
    outbound.mailbox?.add(box, conversation)
    if (!outbound.isBlocked && hasCredit(outbound)) this.#go(outbound)
  }

  /** Something may be possible that was not before. */
  #resume(outbound: Outbound): void {
    outbound.isBlocked = false
    this.#go(outbound)
  }

  #go(outbound: Outbound): void {
    if (outbound.isReading || outbound.isLive || !outbound.isWhole || !isThere(outbound.session)) return
    outbound.isReading = true
    this.#readOn(outbound).catch(() => outbound.session.end({ kind: 'stopping', body: { retryAfterMs: failedMs } }))
  }

  async #readOn(outbound: Outbound): Promise<void> {
    const { session, mailbox } = outbound
    try {
      while (mailbox !== undefined && isThere(session)) {
        if (mailbox.isEmpty) {
          outbound.isLive = true
          outbound.caughtUp()
          break
        }
        if (!hasCredit(outbound)) break
        if (isFull(session)) {
          await setImmediate() // by then what was queued in this turn was handed to the network
          outbound.isBlocked = isFull(session)
          if (outbound.isBlocked) break
        }
        const letters = await this.#take(outbound, mailbox)
        if (session.isOpen) pushBack(outbound, letters)
      }
    } finally {
      outbound.isReading = false
    }
    if (outbound.isLive) this.#parts.trimming.moved(session.device.number)
  }

  /** The next messages, in order: as many as there is credit for. What is not for the device is passed over. */
  async #take({ credit, session }: Outbound, mailbox: Mailbox): Promise<LetterBack[]> {
    const found: Found[] = []
    const messagesMax = Math.min(credit.messages, messagesPerRead)
    const bytesMax = Math.min(credit.bytes, bytesPerRead)
    for (let bytes = 0; found.length < messagesMax && bytes < bytesMax; ) {
      if (mailbox.unknown !== undefined) await this.#lookAhead(mailbox, session.device)
      const next = mailbox.take()
      if (next === undefined) break
      bytes += next.waiting.bytes
      found.push(next)
    }
    const stored = await this.#parts.archive.read(found.map(({ waiting }) => waiting))
    const taken: LetterBack[] = []
    let known: { readonly id: ConversationId | undefined; readonly state: ConversationState | undefined } | undefined
    for (let i = 0; i < found.length; i++) {
      const { waiting, conversation: id } = found[i] as Found // within its bounds
      const content = stored[i]?.content
      if (content === undefined) continue // damaged: `explain` tells that it is lost
      if (known === undefined || known.id !== id) known = { id, state: id && (await this.#stateOf(id)) }
      const letter = { position: waiting.position, conversation: id, content }
      if (mayTake(session.device, letter, known.state)) taken.push(letter)
      else if (id !== undefined) this.#parts.trimming.note(id, session.device.number)
    }
    return taken
  }

  /** Finds out where a device may read what comes next. */
  async #lookAhead(mailbox: Mailbox, device: Device): Promise<void> {
    for (let next = mailbox.unknown; next !== undefined; next = mailbox.unknown) {
      const conversation = this.#parts.shelf.peek(next) ?? (await this.#parts.shelf.find(next))
      const intervals = conversation?.state.intervals ?? []
      mailbox.know(
        next,
        intervals.filter((each) => each.device === device.number),
      )
    }
  }

  async #stateOf(conversation: ConversationId): Promise<ConversationState | undefined> {
    const { shelf } = this.#parts
    return (shelf.peek(conversation) ?? (await shelf.find(conversation)))?.state
  }

  async #acknowledge(outbound: Outbound): Promise<void> {
    const { archive, trimming } = this.#parts
    const device = outbound.session.device.number
    const through = outbound.stored
    const box = boxOf('welcome', device)
    const trims = archive.countOf(box) > 0 ? [{ box, through }] : []
    await archive.step({ acknowledged: { device, through }, trims })
    for (const conversation of outbound.took(through)) trimming.note(conversation, device)
    trimming.moved(device)
  }
}

/** What goes out together: one letter or several, beside each other. */
interface Pushed {
  readonly count: number
  readonly sealedBytes: number
  readonly frame: Uint8Array
}

function push(outbound: Outbound, pushed: Pushed, { position, conversation }: Omit<LetterBack, 'content'>): void {
  outbound.pushed(conversation, position, pushed)
  outbound.session.send(pushed.frame, pushed.count)
}

function pushBack(outbound: Outbound, letters: readonly LetterBack[]): void {
  for (const letter of letters)
    outbound.pushed(letter.conversation, letter.position, { count: 1, sealedBytes: sealedBytesOf(letter) })
  for (const { frames, count } of framesOf(letters)) outbound.session.send(frames, count)
}

/** Whether what was read back is for a device. `state` is that of the conversation in whose box it lay, if there is one. */
function mayTake({ number }: Device, letter: LetterBack, state: ConversationState | undefined): boolean {
  const { conversation, content } = letter
  if (sealedBytesOf(letter) < 0) return false
  if (conversation === undefined) return true
  if (state === undefined || applicationSenderIn(content) === number) return false
  return mayRead(state, number, sequenceIn(content) as number) // it is a letter
}

/** One's own messages do not come back; one's own commits do: they take effect at their place in the sequence. */
function isFor({ number }: Device, letter: Letter): boolean {
  return !letter.isApplication || letter.sender !== number
}

function mayPush(outbound: Outbound): boolean {
  return hasCredit(outbound) && !isFull(outbound.session) && isThere(outbound.session)
}

function isThere({ isOpen, device }: Session): boolean {
  return isOpen && device.isListed
}

function hasCredit({ credit }: Outbound): boolean {
  return credit.messages > 0 && credit.bytes > 0
}

function isFull({ backlog }: Session): boolean {
  return backlog > backlogBytesMax
}
