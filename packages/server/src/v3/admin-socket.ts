import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import path from 'node:path'
import { ProtocolError } from '@messageu/protocol'
import { type AdminEvent, type AdminServices, readAdminRequest, serveAdmin } from './admin-requests.ts'

/** Sizes in bytes, durations in milliseconds. */
const limits = {
  requestBytesMax: 4096,
  requestMs: 5_000,
  /** For the whole answer: whoever reads a long list may pause. */
  answerMs: 60_000,
  connectionsMax: 8,
  /** What the system takes as the name of a socket. */
  pathBytesMax: 103,
}

/** The operator's tools cannot be served from this folder. */
export class NoAdminSocket extends Error {
  override readonly name = 'NoAdminSocket'
}

export const adminSocketPath = (folder: string): string => path.join(folder, 'admin.sock')

/**
 * Listens on a socket in the data folder, for whoever may open files there: one line of JSON in, lines of JSON out. The
 * caller holds the folder's lock, so that a socket found in it is nobody's. Throws `NoAdminSocket` where there can be none.
 */
export async function serveAdminSocket(
  folder: string,
  services: AdminServices,
  failed: (error: unknown) => void,
): Promise<AsyncDisposable> {
  const file = adminSocketPath(folder)
  if (process.platform === 'win32') throw new NoAdminSocket('this system has no sockets in folders')
  if (Buffer.byteLength(file) > limits.pathBytesMax) throw new NoAdminSocket('the path of the data folder is too long')
  await rm(file, { force: true })
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    serve(socket, services, failed)
  })
  server.maxConnections = limits.connectionsMax
  const umask = process.umask(0o177) // nobody else's from its first moment: binding happens within `listen`
  try {
    server.listen(file)
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of open) socket.destroy()
      await closed
    },
  }
}

function serve(socket: Socket, services: AdminServices, failed: (error: unknown) => void): void {
  let text = ''
  socket.setTimeout(limits.requestMs, () => socket.destroy())
  socket.setEncoding('utf8')
  socket.on('error', () => socket.destroy())
  socket.on('data', (piece) => {
    text += String(piece)
    const end = text.indexOf('\n')
    if (end < 0 && text.length <= limits.requestBytesMax) return
    socket.removeAllListeners('data')
    socket.resume()
    socket.setTimeout(limits.answerMs)
    const line = end < 0 || end > limits.requestBytesMax ? '' : text.slice(0, end)
    respond(socket, line, services).catch((error: unknown) => {
      if (socket.destroyed) return // whoever asked does not want to know any more
      if (!(error instanceof ProtocolError)) failed(error)
      const reason = error instanceof ProtocolError ? error.reason : 'internal'
      const message = error instanceof ProtocolError ? error.message : 'a mistake of the server: see its log'
      socket.end(lineOf({ event: 'refused', reason, message }))
    })
  })
}

async function respond(socket: Socket, line: string, services: AdminServices): Promise<void> {
  for await (const event of serveAdmin(readAdminRequest(line), services)) {
    if (socket.destroyed) return
    if (!socket.write(lineOf(event))) await Promise.race([once(socket, 'drain'), once(socket, 'close')])
  }
  socket.end(lineOf({ event: 'done' }))
}

const lineOf = (event: AdminEvent): string => `${JSON.stringify({ v: 1, ...event })}\n`
