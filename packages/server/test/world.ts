import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ClientId, PublicKey } from '@messageu/protocol/v2'
import { nameFromText } from '@messageu/protocol/v2'
import { openMemory } from '../src/storage/memory.ts'
import { openSqlite, type SqliteOptions } from '../src/storage/sqlite.ts'
import type { Client, Fetched, Storage } from '../src/storage.ts'
import { listenV2, type V2Listener, type V2Options } from '../src/v2/listener.ts'

/** A folder that is gone when its scope ends. */
export async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'messageu-test-'))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

export const newId = (): ClientId => randomBytes(16) as Uint8Array as ClientId

export function openSqliteIn(folder: string, options: Partial<SqliteOptions> = {}): Promise<Storage> {
  return openSqlite({ folder, nowMs: Date.now, diskReserveShare: 0, ...options })
}

/** Each kind of storage that the contract holds for, empty, in a folder that it may use. */
export const storages: Record<string, (folder: string, options?: Partial<SqliteOptions>) => Promise<Storage>> = {
  memory: async (_, options) => openMemory(options),
  sqlite: openSqliteIn,
}

export async function registered(storage: Storage, name: string): Promise<Client> {
  const id = newId()
  const publicKey = randomBytes(160) as Uint8Array as PublicKey
  const outcome = await storage.register({ login: id, id, name: nameFromText(name), publicKey })
  if (outcome.kind !== 'registered') throw new Error(outcome.kind)
  return outcome.client
}

/** The bytes of a fetch, as they would go over the wire. */
export async function bytesOf(storage: Storage, fetched: Fetched): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of storage.read(fetched)) {
    pieces.push(Buffer.from(piece.bytes))
    piece.release()
  }
  return Buffer.concat(pieces)
}

export interface V2World extends AsyncDisposable {
  readonly listener: V2Listener
  readonly storage: Storage
  readonly log: object[]
  readonly port: number
  /** One request, sent as it is; resolves with all that comes until the server's end. */
  ask(request: Uint8Array): Promise<Buffer>
}

/** A listener on loopback over `storage`, which ends with it, with whatever limits the test needs. */
export async function startV2(storage: Storage, options: Partial<V2Options> = {}): Promise<V2World> {
  const world = await listenOn(storage, options)
  return {
    ...world,
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await storage[Symbol.asyncDispose]()
    },
  }
}

/** Another listener over a storage that is somebody else's. */
export async function listenOn(storage: Storage, options: Partial<V2Options> = {}): Promise<V2World> {
  const log: object[] = []
  const listener = await listenV2({
    storage,
    host: '127.0.0.1',
    port: 0,
    nowMs: () => performance.now(),
    newClientId: newId,
    log: { refused: (entry) => log.push(entry), fetched: (entry) => log.push(entry) },
    ...options,
  })
  const { port } = listener.address
  return {
    listener,
    storage,
    log,
    port,
    ask: (request) => ask(port, request),
    [Symbol.asyncDispose]: () => listener.stop(0),
  }
}

async function ask(port: number, request: Uint8Array): Promise<Buffer> {
  const socket = await dial(port)
  socket.write(request)
  const answer = await everythingFrom(socket)
  socket.end()
  return answer
}

function dial(port: number, host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, allowHalfOpen: true }, () => resolve(socket))
    socket.once('error', reject)
  })
}

/** All bytes until the peer's end. Rejects if the connection breaks before it. */
function everythingFrom(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(chunks)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before its end')))
  })
}
