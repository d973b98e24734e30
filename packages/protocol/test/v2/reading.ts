import { ProtocolError } from '../../src/errors.ts'
import type { ClientId, Delivered } from '../../src/v2/messages.ts'
import type { OperationName } from '../../src/v2/operations.ts'
import { type Request, RequestReader } from '../../src/v2/request.ts'
import { DeliveryReader } from '../../src/v2/response.ts'

/** What became of a request that was pushed in pieces: all that the reader told, and how it ended. */
export interface RequestRead {
  header?: { asker: ClientId; operation: OperationName }
  request?: Request
  content: Buffer
  complete: boolean
  missing: RequestReader['missing']
  refused?: ProtocolError
}

/** Anything but a `ProtocolError` goes through, and so does an event out of order. */
export function readRequest(pieces: Iterable<Uint8Array>): RequestRead {
  const content: Uint8Array[] = []
  const read: RequestRead = { content: Buffer.alloc(0), complete: false, missing: 'header' }
  const reader = new RequestReader({
    onHeader(asker, operation) {
      if (read.header !== undefined) throw new Error('a second header')
      read.header = { asker, operation }
    },
    onRequest(request) {
      if (read.header?.operation !== request.kind || read.request !== undefined) throw new Error('not its request')
      read.request = request
    },
    onContent(piece) {
      if (read.request?.kind !== 'send' || read.complete) throw new Error('not its content')
      content.push(piece)
    },
    onComplete() {
      if (read.request === undefined || read.complete) throw new Error('complete before the request, or twice')
      read.complete = true
    },
  })
  try {
    for (const piece of pieces) reader.push(piece)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    read.refused = error
  }
  if (reader.complete !== read.complete) throw new Error('complete without having said so')
  read.missing = reader.missing
  read.content = Buffer.concat(content)
  return read
}

/** The messages in the payload of a fetch that was pushed in pieces. */
export interface DeliveryRead {
  messages: { head: Delivered; content: Buffer }[]
  refused?: ProtocolError
}

export function readDelivery(pieces: Iterable<Uint8Array>): DeliveryRead {
  const read: DeliveryRead = { messages: [] }
  let open: { head: Delivered; content: Uint8Array[] } | undefined
  const reader = new DeliveryReader({
    onMessage(head) {
      if (open !== undefined) throw new Error('a message inside a message')
      open = { head, content: [] }
    },
    onContent(piece) {
      if (open === undefined) throw new Error('a content without a message')
      open.content.push(piece)
    },
    onMessageEnd() {
      if (open === undefined) throw new Error('an end without a message')
      read.messages.push({ head: open.head, content: Buffer.concat(open.content) })
      open = undefined
    },
  })
  try {
    for (const piece of pieces) reader.push(piece)
    reader.end()
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    read.refused = error
  }
  return read
}

export function* singleBytes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) yield bytes.subarray(at, at + 1)
}
