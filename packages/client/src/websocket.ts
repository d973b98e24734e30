import type { Link } from '@messageu/protocol/v3'
import { type Security, socketUrl } from './addressing.ts'
import { badAnswer, ClientError } from './errors.ts'
import { type Channel, type ChannelEvents, subprotocol, type Transport } from './transport.ts'

/**
 * The WebSocket that browsers have, and Node as well. It does not show the certificate: off this machine the server needs
 * one from an authority that the browser knows, and a session is not bound to it. CONVERSATIONS B 1
 */
export function browserTransport({ security = 'auto' }: { security?: Security } = {}): Transport {
  return {
    async open(link, events, { signal }) {
      signal.throwIfAborted()
      const socket = new WebSocket(socketUrl(link, security), [subprotocol])
      socket.binaryType = 'arraybuffer'
      const opened = Promise.withResolvers<Channel>()
      const abort = (): void => {
        opened.reject(signal.reason)
        socket.close()
      }
      signal.addEventListener('abort', abort, { once: true })
      socket.onopen = () => opened.resolve(channelOf(socket, link, events))
      socket.onclose = () => opened.reject(new ClientError('unreachable', `cannot connect to ${link.host}`))
      try {
        return await opened.promise
      } finally {
        signal.removeEventListener('abort', abort)
      }
    },
  }
}

function channelOf(socket: WebSocket, { host }: Link, events: ChannelEvents): Channel {
  let isClosed = false
  const closed = (why: ClientError): void => {
    if (isClosed) return
    isClosed = true
    events.closed(why)
  }
  socket.onmessage = (event) => {
    if (isClosed) return
    const data: unknown = event.data
    if (data instanceof ArrayBuffer) return events.message(new Uint8Array(data))
    closed(badAnswer('a message of text'))
    socket.close()
  }
  socket.onclose = () => closed(new ClientError('lost', `the connection to ${host} has ended`))
  return {
    certificate: undefined,
    send: (message) => socket.send(message.slice()), // a copy, because its memory may be shared
    close: () => socket.close(),
  }
}
