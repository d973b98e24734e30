import assert from 'node:assert'
import { crc32 } from 'node:zlib'
import { encode, ProtocolError } from '@messageu/protocol'
import { type ClientId, Delivered } from '@messageu/protocol/v2'
import type { Told } from '../archive.ts'
import type {
  Client,
  Fetched,
  IncomingContent,
  Message,
  Piece,
  Registered,
  Reserved,
  SmallMessage,
  Storage,
  StorageFigures,
  StoredContent,
} from '../storage.ts'
import { Directory } from './directory.ts'
import { MemoryArchive } from './memoryarchive.ts'
import { Positions } from './positions.ts'
import { Quotas, type StorageLimits } from './quotas.ts'
import { messageIdOf } from './records.ts'

export interface MemoryOptions {
  readonly limits?: Partial<StorageLimits>
  /** Whether the imagined disk has room for so many bytes more. */
  readonly diskHasRoom?: (bytes: number) => boolean
  /** The first message comes behind this position. */
  readonly position?: number
  /** The time of what version 3 stores; 0 if nobody says. */
  readonly nowMs?: () => number
}

interface Stored {
  readonly position: number
  readonly head: Uint8Array
  readonly content: Uint8Array
}

/** A storage that forgets everything when it ends: for tests, and as the plainest reading of the `Storage` contract. */
export function openMemory(options: MemoryOptions = {}): Storage {
  return new MemoryStorage(options)
}

class MemoryStorage implements Storage {
  readonly failed = new Promise<never>(() => {})
  readonly archive: MemoryArchive
  readonly #directory = new Directory()
  readonly #mailboxes = new Map<number, Stored[]>()
  /** Received, and not taken over by a message. */
  readonly #contents = new Map<number, Uint8Array>()
  readonly #quotas: Quotas
  readonly #positions: Positions
  #contentId = 0
  #ended = false

  constructor({ limits, diskHasRoom = () => true, position = 0, nowMs = () => 0 }: MemoryOptions) {
    const all = (): Stored[] => [...this.#mailboxes.values()].flat()
    const waiting = {
      get count(): number {
        return all().length
      },
      countOf: (mailbox: number) => this.#mailbox(mailbox).length,
      bytesOf: (mailbox: number) => this.#mailbox(mailbox).reduce((sum, message) => sum + sizeOf(message), 0),
    }
    this.#quotas = new Quotas(waiting, { promise: diskHasRoom, giveBack() {} }, limits ?? {})
    this.#positions = new Positions(position)
    this.archive = new MemoryArchive({ nowMs, positions: this.#positions, diskHasRoom })
  }

  clientByLogin(login: ClientId): Client | undefined {
    return this.#directory.byLogin(login)
  }

  clientById(id: ClientId): Client | undefined {
    return this.#directory.byId(id)
  }

  listing(asker: Client): readonly Uint8Array[] {
    return this.#directory.listing(asker)
  }

  figures(): StorageFigures {
    const waitingMessages = [...this.#mailboxes.values()].flat().length
    return { clients: this.#directory.count, waitingMessages, damagedMessages: 0 }
  }

  async register(registration: Omit<Client, 'number'>): Promise<Registered> {
    this.#mustBeOpen()
    if (this.#directory.claims >= this.#quotas.limits.clientsMax) return { kind: 'directory-full' }
    if (!this.#directory.claimName(registration.name)) return { kind: 'name-taken' }
    const client: Client = { ...registration, number: this.#directory.claims }
    await Promise.resolve() // as in any storage, others may look before the client is known
    this.#directory.add(client)
    return { kind: 'registered', client }
  }

  takeClient(registration: Omit<Client, 'number'>, told: Told<Registered>): void {
    this.register(registration).then(told.durable.bind(told), told.refused.bind(told))
  }

  reserve(recipient: Client, bytes: number): Reserved {
    return this.#quotas.reserve(recipient, bytes)
  }

  async receive(_bytes: number, release?: (piece: Uint8Array) => void): Promise<IncomingContent> {
    this.#mustBeOpen()
    const id = ++this.#contentId
    const pieces: Uint8Array[] = []
    return {
      write: (piece) => pieces.push(piece) > 0,
      room: async () => {},
      finish: async () => {
        const whole = Buffer.concat(pieces)
        if (release !== undefined) pieces.forEach(release)
        this.#contents.set(id, whole)
        return { id, bytes: whole.length, digest: crc32(whole) }
      },
      [Symbol.asyncDispose]: async () => {
        this.#contents.delete(id)
      },
    }
  }

  async accept({ sender, room, type, content }: Message): Promise<{ position: number }> {
    this.#mustBeOpen()
    const bytes = content instanceof Uint8Array ? content.slice() : this.#takeOver(content)
    const position = this.#positions.next()
    const head = encode(Delivered, {
      sender: sender.id,
      message: messageIdOf(position),
      type,
      contentBytes: bytes.length,
    })
    const mailbox = room.recipient.number
    await Promise.resolve() // as in any storage, others may look before the message is there
    this.#mailboxes.set(mailbox, [...this.#mailbox(mailbox), { position, head, content: bytes }])
    return { position }
  }

  take(message: SmallMessage, told: Told<number>): void {
    this.accept(message).then(({ position }) => told.durable(position), told.refused.bind(told))
  }

  waiting(recipient: Client, bytesMax: number): Fetched {
    const taken: Stored[] = []
    let bytes = 0
    for (const message of this.#mailbox(recipient.number)) {
      if (taken.length > 0 && bytes + sizeOf(message) > bytesMax) break
      taken.push(message)
      bytes += sizeOf(message)
    }
    const positions = Float64Array.from(taken, ({ position }) => position)
    return { recipient, bytes, positions, sizes: Float64Array.from(taken, sizeOf), damaged: [] }
  }

  async *read({ recipient, positions }: Fetched): AsyncGenerator<Piece> {
    for (const { position, head, content } of this.#mailbox(recipient.number)) {
      if (!positions.includes(position)) continue
      for (const bytes of [head, content]) yield { bytes, release() {} }
    }
  }

  async discard({ recipient, positions }: Fetched): Promise<void> {
    this.#mustBeOpen()
    const left = this.#mailbox(recipient.number).filter(({ position }) => !positions.includes(position))
    this.#mailboxes.set(recipient.number, left)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    this.archive.end()
  }

  #takeOver({ id }: StoredContent): Uint8Array {
    const content = this.#contents.get(id)
    assert(content !== undefined, 'a content belongs to one message')
    this.#contents.delete(id)
    return content
  }

  #mailbox(number: number): Stored[] {
    return this.#mailboxes.get(number) ?? []
  }

  #mustBeOpen(): void {
    if (this.#ended) throw new ProtocolError('stopping', 'the storage is closed')
  }
}

function sizeOf({ head, content }: Stored): number {
  return head.length + content.length
}
