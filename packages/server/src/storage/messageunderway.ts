import assert from 'node:assert'
import type { Told } from '../archive.ts'
import type { Client, Message, Registered } from '../storage.ts'
import type { Directory } from './directory.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Positions } from './positions.ts'
import {
  clientRecordBytes,
  liesInFile,
  messageRecordBytes,
  recordKinds,
  sealedFrom,
  sealedHeadBytes,
  writeClient,
  writeMessage,
} from './records.ts'
import type { Commit, WriterThread } from './writerthread.ts'
import type { YoungMessages } from './young.ts'

/** What messages and registrations of version 2 meet on their way. */
export interface Way {
  readonly nowMs: () => number
  readonly positions: Positions
  readonly mailboxes: Mailboxes
  readonly directory: Directory
  readonly writer: WriterThread
  readonly young: YoungMessages
}

/** A message from the call until somebody is told what became of it: one object in every role, no promise. */
export class MessageUnderWay implements Commit {
  readonly kind = recordKinds.message
  readonly bytes: number
  readonly #way: Way
  readonly #message: Message
  /** Of head and content. */
  readonly #size: number
  readonly #told: Told<number>
  #position = 0

  constructor(way: Way, message: Message, told: Told<number>) {
    const { content } = message
    const isSmall = content instanceof Uint8Array
    this.#way = way
    this.#message = message
    this.#size = sealedHeadBytes + (isSmall ? content.length : content.bytes)
    this.#told = told
    this.bytes = messageRecordBytes(message)
    assert(liesInFile(this.#size) === !isSmall, 'large contents lie in files, small ones in rows')
  }

  write(place: number): void {
    const { writer, positions, nowMs, young } = this.#way
    this.#position = positions.next()
    writeMessage(writer.ring, place, this.#position, nowMs(), this.#message)
    young.note(this.#position, place, sealedFrom(writer.ring, place))
  }

  durable(): void {
    this.#way.mailboxes.add(this.#message.room.recipient.number, this.#position, this.#size)
    this.#told.durable(this.#position)
  }

  refused(error: Error): void {
    this.#told.refused(error)
  }
}

/** The same for a client whose name was claimed. */
export class ClientUnderWay implements Commit {
  readonly kind = recordKinds.client
  readonly bytes: number
  readonly #way: Way
  readonly #client: Client
  readonly #told: Told<Registered>

  constructor(way: Way, client: Client, told: Told<Registered>) {
    this.#way = way
    this.#client = client
    this.#told = told
    this.bytes = clientRecordBytes(client)
  }

  write(place: number): void {
    writeClient(this.#way.writer.ring, place, this.#way.nowMs(), this.#client)
  }

  durable(): void {
    this.#way.directory.add(this.#client)
    this.#told.durable({ kind: 'registered', client: this.#client })
  }

  refused(error: Error): void {
    this.#way.directory.releaseName(this.#client.name)
    this.#told.refused(error)
  }
}
