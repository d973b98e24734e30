/// <reference path="./ws.d.ts" />
import type { Socket } from 'node:net'
import { limits as protocol } from '@messageu/protocol/v3'
import { Receiver, Sender } from 'ws'
import { badAnswer, ClientError } from '../errors.ts'
import type { Channel, ChannelEvents } from '../transport.ts'

/** What of a message is kept before its end: by frames, by chunks of the socket, and answers to pings that were not sent. */
const limits = { fragmentsMax: 16 * 1024, chunksMax: 32 * 1024, pongsMax: 60, leavingMs: 5_000 } as const

interface Upgraded {
  /** Paused. */
  readonly socket: Socket
  /** What was read of it already. */
  readonly rest: Buffer
  readonly host: string
  readonly certificate: Channel['certificate']
}

/** The frames of RFC 6455 §5 on a socket, read and written by `ws`. */
export function framed({ socket, rest, host, certificate }: Upgraded, events: ChannelEvents): Channel {
  const receiver = new Receiver({
    isServer: false,
    maxPayload: protocol.frameBytesMax,
    maxFragments: limits.fragmentsMax,
    maxBufferedChunks: limits.chunksMax,
    skipUTF8Validation: true,
  })
  const sender = new Sender(socket)
  let why = new ClientError('lost', `the connection to ${host} has ended`)
  let isOpen = true
  let pongs = 0

  /** Hears nothing more, says what is left to say, and ends. */
  const leave = (): void => {
    isOpen = false
    const tooLong = setTimeout(() => socket.destroy(), limits.leavingMs)
    socket.on('close', () => clearTimeout(tooLong))
    socket.destroySoon()
  }
  const refuse = (code: number, what: string, cause?: unknown): void => {
    if (!isOpen) return
    why = badAnswer(what, cause)
    sender.close(code, '', true)
    leave()
  }

  receiver.on('message', (data, isBinary) => {
    if (!isOpen) return
    if (isBinary) return events.message(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    refuse(1003, 'a message of text')
  })
  receiver.on('error', (cause) => refuse(1002, cause.message, cause))
  receiver.on('ping', (data) => {
    if (!isOpen) return
    if (pongs === limits.pongsMax) return void socket.destroy()
    pongs += 1
    sender.pong(data, true, () => {
      pongs -= 1
    })
  })
  receiver.on('conclude', () => {
    if (!isOpen) return
    sender.close(1000, '', true)
    leave()
  })
  socket.on('error', (cause) => {
    if (isOpen) why = new ClientError('lost', `the connection to ${host} broke: ${cause.message}`, { cause })
  })
  socket.on('end', () => {
    if (isOpen) leave()
  })
  socket.on('close', () => events.closed(why))
  if (rest.length > 0) socket.unshift(rest)
  // without compression a chunk has been dealt with when `write` returns: what is not read stays with the server
  socket.on('data', (chunk) => receiver.write(chunk))
  socket.resume()
  return {
    certificate,
    send(message) {
      if (isOpen) sender.send(message, { binary: true, mask: true, fin: true, compress: false })
    },
    close() {
      isOpen = false
      socket.destroy()
    },
  }
}
