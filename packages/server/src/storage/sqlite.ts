import { ProtocolError } from '@messageu/protocol'
import type { ClientId } from '@messageu/protocol/v2'
import type { Told } from '../archive.ts'
import { DiskWatermark, type FreeSpace, freeSpaceOf } from '../disk.ts'
import { limits } from '../limits.ts'
import { FolderLock } from '../lock.ts'
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
import { Bodies } from './bodies.ts'
import { ContentFolder } from './contents.ts'
import { DamagedStorage } from './damage.ts'
import { contentFolder, databaseFile, prepareFiles, prepareFolder } from './folder.ts'
import { type LoadedState, loadState } from './load.ts'
import { ClientUnderWay, MessageUnderWay, type Way } from './messageunderway.ts'
import { Positions } from './positions.ts'
import { Quotas, type StorageLimits } from './quotas.ts'
import { ReaderThread } from './readerthread.ts'
import { type Discard, discardRecordBytes, recordKinds, writeDiscard } from './records.ts'
import { SqliteArchive } from './sqlitearchive.ts'
import { WriterThread } from './writerthread.ts'
import { YoungMessages } from './young.ts'

export interface SqliteOptions {
  readonly folder: string
  readonly nowMs: () => number
  readonly limits?: Partial<StorageLimits>
  /** Share of the disk to leave free. */
  readonly diskReserveShare?: number
  readonly freeSpace?: () => Promise<FreeSpace>
}

/** Opens the storage in a folder, which it creates if need be. Throws `FolderInUse` or `DamagedStorage`. */
export async function openSqlite(options: SqliteOptions): Promise<SqliteStorage> {
  const { folder, nowMs } = options
  await prepareFolder(folder)
  const lock = await FolderLock.take(folder, new Date(nowMs()))
  try {
    await prepareFiles(folder)
    const state = loadState(folder)
    const { contents, orphans } = await ContentFolder.open(contentFolder(folder), state.contents)
    const look = options.freeSpace ?? (() => freeSpaceOf(folder))
    const disk = await DiskWatermark.open(look, options.diskReserveShare ?? limits.diskReserveShare, nowMs)
    return new SqliteStorage(options, lock, state, contents, disk, orphans)
  } catch (error) {
    lock[Symbol.dispose]()
    throw error
  }
}

export class SqliteStorage implements Storage {
  readonly failed: Promise<never>
  readonly archive: SqliteArchive
  /** Files without a message that were removed at the start. */
  readonly orphansRemoved: number
  readonly #lock: FolderLock
  readonly #state: LoadedState
  readonly #contents: ContentFolder
  readonly #quotas: Quotas
  readonly #writer: WriterThread
  readonly #reader: ReaderThread
  readonly #bodies: Bodies
  readonly #way: Way
  #clientNumber: number
  #closing: Promise<void> | undefined

  constructor(
    options: SqliteOptions,
    lock: FolderLock,
    state: LoadedState,
    contents: ContentFolder,
    disk: DiskWatermark,
    orphans: number,
  ) {
    this.#lock = lock
    this.#state = state
    this.#contents = contents
    this.#quotas = new Quotas(state.mailboxes, disk, options.limits ?? {})
    this.#clientNumber = state.clientNumber
    this.orphansRemoved = orphans
    const file = databaseFile(options.folder)
    const { position, journalNumber, journalRows, journalBytes } = state
    this.#writer = new WriterThread({ file, position, journalNumber, journalRows, journalBytes })
    this.#reader = new ReaderThread(file, (error) => this.#writer.fail(error))
    const young = new YoungMessages(this.#writer.ring)
    const positions = new Positions(state.position)
    const { mailboxes, directory } = state
    this.#bodies = new Bodies(young, this.#reader, contents)
    this.#way = { nowMs: options.nowMs, positions, mailboxes, directory, writer: this.#writer, young }
    this.failed = this.#writer.failed
    this.archive = new SqliteArchive({
      nowMs: options.nowMs,
      positions,
      mailboxes,
      quotas: this.#quotas,
      contents,
      writer: this.#writer,
      reader: this.#reader,
      young,
      contentIds: state.archiveContents,
      staleContents: state.staleContents,
    })
  }

  clientByLogin(login: ClientId): Client | undefined {
    return this.#state.directory.byLogin(login)
  }

  clientById(id: ClientId): Client | undefined {
    return this.#state.directory.byId(id)
  }

  listing(asker: Client): readonly Uint8Array[] {
    return this.#state.directory.listing(asker)
  }

  figures(): StorageFigures {
    const { directory, mailboxes } = this.#state
    return { clients: directory.count, waitingMessages: mailboxes.count, damagedMessages: this.#bodies.damagedCount }
  }

  register(registration: Omit<Client, 'number'>): Promise<Registered> {
    return new Promise((durable, refused) => this.takeClient(registration, { durable, refused }))
  }

  takeClient(registration: Omit<Client, 'number'>, told: Told<Registered>): void {
    const { directory } = this.#state
    if (directory.claims >= this.#quotas.limits.clientsMax) told.durable({ kind: 'directory-full' })
    else if (!directory.claimName(registration.name)) told.durable({ kind: 'name-taken' })
    else this.#writer.take(new ClientUnderWay(this.#way, { ...registration, number: ++this.#clientNumber }, told))
  }

  reserve(recipient: Client, bytes: number): Reserved {
    return this.#quotas.reserve(recipient, bytes)
  }

  async receive(_bytes: number, release?: (piece: Uint8Array) => void): Promise<IncomingContent> {
    if (this.#closing !== undefined) throw new ProtocolError('stopping', 'the storage is closed')
    return this.#contents.receive(release)
  }

  async accept(message: Message): Promise<{ position: number }> {
    const { content } = message
    if (!(content instanceof Uint8Array)) return this.#takeOver(message, content)
    return { position: await this.#append(message) }
  }

  take(message: SmallMessage, told: Told<number>): void {
    this.#writer.take(new MessageUnderWay(this.#way, message, told))
  }

  waiting(recipient: Client, bytesMax: number): Fetched {
    const positions: number[] = []
    const sizes: number[] = []
    const damaged: number[] = []
    let bytes = 0
    this.#state.mailboxes.walk(recipient.number, (position, size) => {
      if (this.#bodies.isDamaged(position)) {
        damaged.push(position)
        return damaged.length <= limits.damagedPerMailboxMax
      }
      if (positions.length > 0 && bytes + size > bytesMax) return false
      positions.push(position)
      sizes.push(size)
      bytes += size
      return true
    })
    if (damaged.length > limits.damagedPerMailboxMax)
      throw new DamagedStorage(
        'server.db',
        `mailbox ${recipient.number} holds more than ${limits.damagedPerMailboxMax} damaged messages`,
      )
    return { recipient, bytes, positions: new Float64Array(positions), sizes: new Float64Array(sizes), damaged }
  }

  read({ positions, sizes }: Fetched): AsyncIterable<Piece> {
    return this.#bodies.read(positions, sizes)
  }

  async discard({ recipient, positions, sizes, damaged }: Fetched): Promise<void> {
    const through = positions.at(-1)
    if (through === undefined) return
    const keeping = damaged.filter((position) => position < through)
    const contents = await this.#bodies.contentsOf(positions, sizes)
    const discard: Discard = { recipient: recipient.number, through, keeping, contents }
    await this.#writer.commit({
      kind: recordKinds.discard,
      bytes: discardRecordBytes(discard),
      write: (place) => writeDiscard(this.#writer.ring, place, discard),
      durable: () => this.#state.mailboxes.discard(recipient.number, through, keeping),
    })
    this.#bodies.forget(positions)
    await this.#contents.remove(contents)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async #close(): Promise<void> {
    await this.archive.close()
    await Promise.all([this.#writer.drain(), this.#reader.close()])
    await this.#writer.close() // after the reader: the last connection moves the write-ahead log into the database
    await this.#contents.close()
    this.#lock[Symbol.dispose]()
  }

  async #takeOver(message: Message, content: StoredContent): Promise<{ position: number }> {
    this.#contents.claim(content)
    try {
      return { position: await this.#append(message) }
    } catch (error) {
      // any other error leaves open whether the message is durable: the next start knows
      if (error instanceof ProtocolError) await this.#contents.remove([content.id])
      throw error
    }
  }

  /** Returns the position. */
  #append(message: Message): Promise<number> {
    return new Promise((durable, refused) => {
      this.#writer.take(new MessageUnderWay(this.#way, message, { durable, refused }))
    })
  }
}
