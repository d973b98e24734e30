import { encode, ProtocolError } from '@messageu/protocol'
import { answerHeader, Receipt } from '@messageu/protocol/v2'
import { limits as storageLimits } from '../../limits.ts'
import { messageIdOf } from '../../storage/records.ts'
import type { Client, IncomingContent, Room, StoredContent } from '../../storage.ts'
import type { Connection, Work } from '../connection.ts'
import type { Operation, Services } from '../host.ts'

const noBytes = new Uint8Array(0)

/** One message for one recipient; answered when it is on disk. §3.4 */
export const send: Operation<'send'> = (services, { addressed }, connection, sender) => {
  const { storage, transfers, buffered } = services
  const recipient = storage.clientById(addressed.recipient)
  if (recipient === undefined) throw new ProtocolError('unknown-recipient', 'nobody has the id that the message is for')
  const large = addressed.contentBytes > storageLimits.contentInRowBytesMax
  const share = large ? transfers.take(1) : buffered.take(addressed.contentBytes)
  if (share === undefined) throw new ProtocolError('busy', `too many ${large ? 'files' : 'messages'} at once`)
  const room = roomFor(services, recipient, addressed.contentBytes, share)

  const accept = async (content: Uint8Array | StoredContent): Promise<void> => {
    const { position } = await storage.accept({ sender, room, type: addressed.type, content })
    const payload = encode(Receipt, { recipient: recipient.id, message: messageIdOf(position) })
    services.answers.do(() => connection.answer(Buffer.concat([answerHeader('send', payload.length), payload])))
  }
  const release = (): void => {
    room[Symbol.dispose]()
    share[Symbol.dispose]()
  }
  return large
    ? upload(services, addressed.contentBytes, connection, accept, release)
    : gather(addressed.contentBytes, connection, accept, release)
}

function roomFor({ storage }: Services, recipient: Client, bytes: number, share: Disposable): Room {
  const reserved = storage.reserve(recipient, bytes)
  if (reserved.kind === 'reserved') return reserved.room
  share[Symbol.dispose]()
  const why = reserved.kind === 'mailbox-full' ? 'the mailbox is full' : 'the server takes no more until there is room'
  throw new ProtocolError(reserved.kind, why)
}

/** A content that goes into the message's row. Gathered in one place: many small pieces take far more than they hold. */
function gather(
  bytes: number,
  connection: Connection,
  accept: (content: Uint8Array) => Promise<void>,
  release: () => void,
): Work {
  let content: Uint8Array = noBytes
  let gathered = 0
  let accepting = false
  return {
    onContent(piece) {
      if (piece.length === bytes) {
        content = piece
        return
      }
      if (gathered === 0) content = Buffer.allocUnsafeSlow(bytes)
      content.set(piece, gathered)
      gathered += piece.length
    },
    onComplete() {
      accepting = true
      accept(content)
        .catch((error: unknown) => connection.fail(error))
        .finally(release)
    },
    onClose() {
      if (!accepting) release()
    },
  }
}

/** A content that goes into a file while it comes. */
function upload(
  { storage }: Services,
  bytes: number,
  connection: Connection,
  accept: (content: StoredContent) => Promise<void>,
  release: () => void,
): Work {
  const { socket } = connection
  const complete = Promise.withResolvers<void>()
  const gone = new ProtocolError('malformed', 'the connection ended inside the content')
  complete.promise.catch(() => {}) // the transfer below may have failed by itself before
  let file: IncomingContent | undefined
  const early: Uint8Array[] = []

  const transfer = async (): Promise<void> => {
    socket.pause()
    await using incoming = await storage.receive(bytes)
    file = incoming
    for (const piece of early.splice(0)) incoming.write(piece)
    socket.resume()
    await complete.promise
    await accept(await incoming.finish())
  }
  transfer()
    .catch((error: unknown) => connection.fail(error))
    .finally(release)

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
