import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { socketPath } from '../src/transport.ts'
import type { FakeServer } from './fake-server.ts'

/** The fake server on a loopback socket, without TLS as every server there: for programs that run by themselves. */
export async function listenOnLoopback(server: FakeServer): Promise<AsyncDisposable> {
  const http = createServer()
  const sockets = new WebSocketServer({ server: http, path: socketPath, perMessageDeflate: false })
  sockets.on('connection', (socket) => void serve(server, socket))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  server.address = { host: '127.0.0.1', port: (http.address() as AddressInfo).port } // of a TCP listener
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate()
      http.close()
      await once(http, 'close')
    },
  }
}

async function serve(server: FakeServer, socket: WebSocket): Promise<void> {
  socket.on('error', () => {}) // a program that was killed
  const session = await server.open(server.link, {
    message: (bytes) => socket.send(bytes),
    closed: () => socket.terminate(),
  })
  socket.on('message', (data: Buffer) => session.send(new Uint8Array(data)))
  socket.on('close', () => session.close())
}
