import { encode, ProtocolError } from '@messageu/protocol'
import { answerHeader, Receipt } from '@messageu/protocol/v2'
import type { Told } from '../../archive.ts'
import { limits as storageLimits } from '../../limits.ts'
import { messageIdOf } from '../../storage/records.ts'
import type { Client, IncomingContent, Message, Room } from '../../storage.ts'
import type { Connection, Work } from '../connection.ts'
import { freeChunk } from '../freechunk.ts'
import type { Operation, Services } from '../host.ts'

const noBytes = new Uint8Array(0)

/** One message for one recipient; answered when it is on disk. §3.4 */
export const send: Operation<'send'> = (services, { addressed }, connection, sender) => {
  const { storage, transfers, buffered } = services
  const { type, contentBytes } = addressed
  const recipient = storage.clientById(addressed.recipient)
  if (recipient === undefined) throw new ProtocolError('unknown-recipient', 'nobody has the id that the message is for')
  const large = contentBytes > storageLimits.contentInRowBytesMax
  const share = large ? transfers.take(1) : buffered.take(contentBytes)
  if (share === undefined) throw new ProtocolError('busy', `too many ${large ? 'files' : 'messages'} at once`)
  const room = roomFor(services, recipient, contentBytes, share)
  const sending = { sender, room, type, share, contentBytes }
  return large ? upload(services, connection, sending) : new SmallSend(services, connection, sending)
}

interface Sending extends Omit<Message, 'content'> {
  /** Of what all who send share. */
  readonly share: Disposable
  readonly contentBytes: number
}

function release({ room, share }: Sending): void {
  room[Symbol.dispose]()
  share[Symbol.dispose]()
}

const receiptHeader = answerHeader('send', Receipt.max)

function answer({ answers }: Services, connection: Connection, { room }: Sending, position: number): void {
  const receipt = encode(Receipt, { recipient: room.recipient.id, message: messageIdOf(position) })
  answers.do(() => connection.answer(Buffer.concat([receiptHeader, receipt])))
}

function roomFor({ storage }: Services, recipient: Client, bytes: number, share: Disposable): Room {
  const reserved = storage.reserve(recipient, bytes)
  if (reserved.kind === 'reserved') return reserved.room
  share[Symbol.dispose]()
  const why = reserved.kind === 'mailbox-full' ? 'the mailbox is full' : 'the server takes no more until there is room'
  throw new ProtocolError(reserved.kind, why)
}

/**
 * A content that goes into the message's row. Gathered in one place: many small pieces take far more than they hold.
 * No promises: messages come by the ten thousand.
 */
class SmallSend implements Work, Told<number> {
  readonly #services: Services
  readonly #connection: Connection
  readonly #sending: Sending
  #content: Uint8Array = noBytes
  #gathered = 0
  #accepting = false

  constructor(services: Services, connection: Connection, sending: Sending) {
    this.#services = services
    this.#connection = connection
    this.#sending = sending
  }

  onContent(piece: Uint8Array): void {
    const { contentBytes } = this.#sending
    if (piece.length === contentBytes) {
      this.#content = piece
      return
    }
    if (this.#gathered === 0) this.#content = Buffer.allocUnsafeSlow(contentBytes)
    this.#content.set(piece, this.#gathered)
    this.#gathered += piece.length
  }

  onComplete(): void {
    const { sender, room, type } = this.#sending
    this.#accepting = true
    this.#services.storage.take({ sender, room, type, content: this.#content }, this)
  }

  durable(position: number): void {
    release(this.#sending)
    answer(this.#services, this.#connection, this.#sending, position)
  }

  refused(error: Error): void {
    release(this.#sending)
    this.#connection.fail(error)
  }

  onClose(): void {
    if (!this.#accepting) release(this.#sending)
  }
}

/** A content that goes into a file while it comes. */
function upload(services: Services, connection: Connection, sending: Sending): Work {
  const { storage } = services
  const { sender, room, type, contentBytes } = sending
  const { socket } = connection
  const complete = Promise.withResolvers<void>()
  const gone = new ProtocolError('malformed', 'the connection ended inside the content')
  complete.promise.catch(() => {}) // the transfer below may have failed by itself before
  let file: IncomingContent | undefined
  const early: Uint8Array[] = []

  const transfer = async (): Promise<void> => {
    socket.pause()
    await using incoming = await storage.receive(contentBytes, freeChunk)
    file = incoming
    for (const piece of early.splice(0)) incoming.write(piece)
    socket.resume()
    await complete.promise
    const { position } = await storage.accept({ sender, room, type, content: await incoming.finish() })
    answer(services, connection, sending, position)
  }
  transfer()
    .catch((error: unknown) => connection.fail(error))
    .finally(() => release(sending))

  return {
    onContent(piece) {
      if (file === undefined) {
        early.push(piece)
      } else if (!file.write(piece)) {
        socket.pause()
        file.room().then(
          () => socket.resume(),
          (error: unknown) => complete.reject(error),
        )
      }
    },
    onComplete: () => complete.resolve(),
    onClose: () => complete.reject(gone),
  }
}
