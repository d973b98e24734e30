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
    if (this.#waiting.count + this.#promisedMessages >= this.limits.waitingMessagesMax || !this.#disk.promise(bytes))
      return { kind: 'storage-full' }
    this.#promised.set(number, promised)
    this.#promise(number, promised, 1, bytes)
    let kept = true
    const release = (): void => {
      if (!kept) return
      kept = false
      this.#promise(number, promised, -1, -bytes)
      this.#disk.giveBack(bytes)
    }
    return { kind: 'reserved', room: { recipient, [Symbol.dispose]: release } }
  }

  #promise(mailbox: number, promised: Promised, messages: number, bytes: number): void {
    promised.messages += messages
    promised.bytes += bytes
    this.#promisedMessages += messages
    if (promised.messages === 0) this.#promised.delete(mailbox)
  }
}
