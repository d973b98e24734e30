import type { DiskWatermark } from '../disk.ts'
import { limits } from '../limits.ts'
import type { Client, Reserved } from '../storage.ts'
import { sealedHeadBytes } from './records.ts'

export interface StorageLimits {
  readonly clientsMax: number
  readonly mailboxBytesMax: number
  readonly mailboxMessagesMax: number
  readonly waitingMessagesMax: number
}

/** What waits now, whoever counts it. */
export interface Waiting {
  readonly count: number
  countOf(mailbox: number): number
  bytesOf(mailbox: number): number
}

interface Promised {
  messages: number
  bytes: number
}

/** Decides whether a mailbox and the disk have room for one more message, what was promised to others included. */
export class Quotas {
  readonly limits: StorageLimits
  readonly #waiting: Waiting
  readonly #disk: Pick<DiskWatermark, 'promise' | 'giveBack'>
  readonly #promised = new Map<number, Promised>()
  #promisedMessages = 0

  constructor(waiting: Waiting, disk: Pick<DiskWatermark, 'promise' | 'giveBack'>, changes: Partial<StorageLimits>) {
    this.#waiting = waiting
    this.#disk = disk
    this.limits = { ...limits, ...changes }
  }

  /** Keeps room for a message with a content of `contentBytes`. What waits is counted with its head. */
  reserve(recipient: Client, contentBytes: number): Reserved {
    const { number } = recipient
    const bytes = sealedHeadBytes + contentBytes
    const promised = this.#promised.get(number) ?? { messages: 0, bytes: 0 }
    if (
      this.#waiting.bytesOf(number) + promised.bytes + bytes > this.limits.mailboxBytesMax ||
      this.#waiting.countOf(number) + promised.messages >= this.limits.mailboxMessagesMax
    )
      return { kind: 'mailbox-full' }
    if (!this.promise(1, bytes)) return { kind: 'storage-full' }
    this.#promised.set(number, promised)
    this.#count(number, promised, 1, bytes)
    let kept = true
    const release = (): void => {
      if (!kept) return
      kept = false
      this.#count(number, promised, -1, -bytes)
      this.giveBack(1, bytes)
    }
    return { kind: 'reserved', room: { recipient, [Symbol.dispose]: release } }
  }

  /** Promises room for messages, whoever gets them, if there is any. To be given back when they are stored or refused. */
  promise(messages: number, bytes: number): boolean {
    if (this.#waiting.count + this.#promisedMessages + messages > this.limits.waitingMessagesMax) return false
    if (!this.#disk.promise(bytes)) return false
    this.#promisedMessages += messages
    return true
  }

  giveBack(messages: number, bytes: number): void {
    this.#promisedMessages -= messages
    this.#disk.giveBack(bytes)
  }

  #count(mailbox: number, promised: Promised, messages: number, bytes: number): void {
    promised.messages += messages
    promised.bytes += bytes
    if (promised.messages === 0) this.#promised.delete(mailbox)
  }
}
