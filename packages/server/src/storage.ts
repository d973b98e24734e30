import type { ClientId, MessageType, Name, PublicKey } from '@messageu/protocol/v2'
import type { Archive, Told } from './archive.ts'

/** Somebody registered on this server under version 2. */
export interface Client {
  /** Place in the order of registration, from 1; also the name of the client's mailbox inside the storage. */
  readonly number: number
  /** What the client calls itself in its requests. */
  readonly login: ClientId
  /** What others see and address. The same as `login` unless the server hands out private ids. */
  readonly id: ClientId
  readonly name: Name
  readonly publicKey: PublicKey
}

export type Registered = { kind: 'registered'; client: Client } | { kind: 'name-taken' } | { kind: 'directory-full' }

/** Room for one message in one mailbox, kept free until it is disposed. */
export interface Room extends Disposable {
  readonly recipient: Client
}

export type Reserved = { kind: 'reserved'; room: Room } | { kind: 'mailbox-full' } | { kind: 'storage-full' }

/** A content that was received into a file and is durable; it belongs to nobody until a message with it is accepted. */
export interface StoredContent {
  readonly id: number
  readonly bytes: number
  /** A checksum of the bytes; its kind is the storage's affair. */
  readonly digest: number
}

/** A large content on its way in. Owns a file: what no message has taken over is gone when it is disposed. */
export interface IncomingContent extends AsyncDisposable {
  /** Keeps `piece`, which must not change until it is released. False asks the caller to wait for `room` before the next one. */
  write(piece: Uint8Array): boolean
  /** Resolves when more may be written; rejects when what was written could not be stored. */
  room(): Promise<void>
  /** Resolves when every byte is durable under its final name. */
  finish(): Promise<StoredContent>
}

export interface Message {
  readonly sender: Client
  readonly room: Room
  readonly type: MessageType
  /** The bytes, or the file that holds them: anything above `limits.contentInRowBytesMax` goes to a file. */
  readonly content: Uint8Array | StoredContent
}

/** A message whose content lies in memory as a whole; the bytes must stay as they are until its outcome is told. */
export interface SmallMessage extends Message {
  readonly content: Uint8Array
}

/** Whole messages from the front of a mailbox, as they were when it was asked. */
export interface Fetched {
  readonly recipient: Client
  /** Sum over the messages of head and content, in bytes. */
  readonly bytes: number
  readonly positions: Float64Array
  /** Bytes of each, head included. */
  readonly sizes: Float64Array
  /** Messages among them that are left out because what is stored of them is damaged. */
  readonly damaged: readonly number[]
}

/**
 * Bytes to deliver. `release` says that they were handed to the network, so that the buffer may be used again: whoever
 * keeps three pieces of a large content waits for the fourth until one is released.
 */
export interface Piece {
  readonly bytes: Uint8Array
  release(): void
}

/**
 * What the server remembers. Every call that changes something is one atomic step: once it resolves, it is durable;
 * when it throws a `ProtocolError`, nothing has changed: `storage-full` when the disk takes no more, `busy` when more is
 * under way than it can take, `stopping` when it is closed. `DamagedStorage` says that stored bytes are not what was
 * stored. After any other error the storage has failed, and only the next start knows what is durable.
 */
export interface Storage extends AsyncDisposable {
  /** Rejects when the storage can make nothing durable any more; the process has to end then. */
  readonly failed: Promise<never>
  /** What version 3 keeps, on the same disk. */
  readonly archive: Archive

  clientByLogin(login: ClientId): Client | undefined
  clientById(id: ClientId): Client | undefined
  /**
   * Gives a name to a new client, unless somebody has it or is about to. The client is known and listed from then on,
   * not before.
   */
  register(client: Omit<Client, 'number'>): Promise<Registered>
  /**
   * The same without a promise, for what comes by the ten thousand: `told` is called in the turn in which it is known,
   * and perhaps before the call returns.
   */
  takeClient(client: Omit<Client, 'number'>, told: Told<Registered>): void
  /** The payload of the list for `asker`: everybody else, in order of registration. Views that never change. */
  listing(asker: Client): readonly Uint8Array[]

  /** Keeps room for a message with a content of `bytes` bytes, so that an upload never fails for a quota at its end. */
  reserve(recipient: Client, bytes: number): Reserved
  /**
   * A place for a content that is too large for a row. `release` is told of each piece that is not needed any more, at
   * the latest when the content is finished; what fails keeps its pieces.
   */
  receive(bytes: number, release?: (piece: Uint8Array) => void): Promise<IncomingContent>
  /**
   * Adds at the end of the recipient's mailbox. Positions grow over the whole server and are never used again. A stored
   * content belongs to the message from the call on, and goes with it if it is refused.
   */
  accept(message: Message): Promise<{ position: number }>
  /** The same without a promise, as `takeClient`. `told` gets the position. */
  take(message: SmallMessage, told: Told<number>): void

  /** At most `bytesMax` bytes of whole messages, but at least one message if any waits. */
  waiting(recipient: Client, bytesMax: number): Fetched
  /** The bytes of what was fetched: for each message its head (protocol 2 §3.5) and its content. */
  read(fetched: Fetched): AsyncIterable<Piece>
  /** Forgets what was fetched, and only that. Repeating it changes nothing. */
  discard(fetched: Fetched): Promise<void>

  /** Counts for the operator. */
  figures(): StorageFigures
}

export interface StorageFigures {
  readonly clients: number
  readonly waitingMessages: number
  readonly damagedMessages: number
}
