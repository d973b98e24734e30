/** Storage alone: as many messages as it takes, without a network; and the raw engine beside it. */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type ClientId, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { databaseFile } from '../packages/server/src/storage/folder.ts'
import { writePragmas } from '../packages/server/src/storage/schema.ts'
import { openSqlite } from '../packages/server/src/storage/sqlite.ts'
import type { Client, Storage } from '../packages/server/src/storage.ts'
import { serveTasks } from './children.ts'
import { settled } from './measure.ts'

const bodyBytes = 300
const outstanding = 64 * 32
const rowsPerTransaction = 1000

const body = Buffer.alloc(bodyBytes, 7)
const opened = new Map<string, { storage: Storage; clients: Client[] }>()

/** More than the runs of one storage accept together. */
const waitingMessagesMax = 100_000_000

export const tasks = {
  /** Opens a storage with so many clients, and so many messages waiting for all but the first hundred of them. */
  async open({ folder, clients, waiting }: { folder: string; clients: number; waiting: number }): Promise<void> {
    const storage = await openSqlite({ folder, nowMs: Date.now, diskReserveShare: 0, limits: { waitingMessagesMax } })
    const registered: Client[] = []
    for (let i = 0; i < clients; i++) registered.push(await register(storage, `client ${i}`))
    opened.set(folder, { storage, clients: registered })
    if (waiting > 0) await send(storage, registered.slice(100), (sent) => sent < waiting)
  },

  /** Messages accepted and durable per second, with 64 × 32 outstanding, for about so long. */
  async accept({ folder, ms }: { folder: string; ms: number }): Promise<number> {
    const { storage, clients } = at(folder)
    const start = performance.now()
    const sent = await send(storage, clients.slice(0, 100), () => performance.now() - start < ms)
    return (sent / (performance.now() - start)) * 1000
  },

  async close(folder: string): Promise<void> {
    await at(folder).storage[Symbol.asyncDispose]()
    opened.delete(folder)
  },

  settle: settled,

  /** Milliseconds until a storage is open, and the memory that it took. */
  async start(folder: string): Promise<{ ms: number; bytes: number }> {
    globalThis.gc?.()
    const before = process.memoryUsage.rss()
    const start = performance.now()
    const storage = await openSqlite({ folder, nowMs: Date.now, diskReserveShare: 0 })
    const ms = performance.now() - start
    globalThis.gc?.()
    const bytes = process.memoryUsage.rss() - before
    await storage[Symbol.asyncDispose]()
    return { ms, bytes }
  },

  /** Milliseconds that SQLite needs to count the messages and their bytes. */
  count(folder: string): number {
    const database = new DatabaseSync(databaseFile(folder), { readOnly: true })
    const start = performance.now()
    database.prepare('SELECT count(*), sum(length(sealed)) FROM messages').get()
    const ms = performance.now() - start
    database.close()
    return ms
  },

  /** Rows per second into a table in order of arrival, by one thread that does nothing else, at the same pragmas. */
  raw({ folder, ms }: { folder: string; ms: number }): number {
    const file = path.join(folder, 'raw.db')
    const database = new DatabaseSync(file)
    database.exec(writePragmas)
    database.exec(
      'CREATE TABLE q(id INTEGER PRIMARY KEY, r INTEGER NOT NULL, s INTEGER NOT NULL, t INTEGER NOT NULL, p BLOB NOT NULL)',
    )
    const insert = database.prepare('INSERT INTO q(id, r, s, t, p) VALUES(?, ?, ?, ?, ?)')
    const begin = database.prepare('BEGIN IMMEDIATE')
    const commit = database.prepare('COMMIT')
    const start = performance.now()
    let id = 0
    while (performance.now() - start < ms) {
      begin.run()
      for (let i = 0; i < rowsPerTransaction; i++) insert.run(++id, id % 100, id, 1_700_000_000, body)
      commit.run()
    }
    const rate = (id / (performance.now() - start)) * 1000
    database.close()
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
    return rate
  },
}

function at(folder: string): { storage: Storage; clients: Client[] } {
  const found = opened.get(folder)
  if (found === undefined) throw new Error(`${folder} is not open`)
  return found
}

async function register(storage: Storage, name: string): Promise<Client> {
  const id = randomBytes(16) as Uint8Array as ClientId
  const publicKey = randomBytes(160) as Uint8Array as PublicKey
  const outcome = await storage.register({ login: id, id, name: nameFromText(name), publicKey })
  if (outcome.kind !== 'registered') throw new Error(outcome.kind)
  return outcome.client
}

/** Sends while `more` says so, with a fixed number outstanding; returns how many were accepted. */
async function send(storage: Storage, recipients: readonly Client[], more: (sent: number) => boolean): Promise<number> {
  let started = 0
  const lane = async (): Promise<void> => {
    while (more(started)) {
      const recipient = recipients[started++ % recipients.length] as Client
      const reserved = storage.reserve(recipient, bodyBytes)
      if (reserved.kind !== 'reserved') throw new Error(reserved.kind)
      using room = reserved.room
      await storage.accept({ sender: recipient, room, type: 'text', content: body })
    }
  }
  await Promise.all(Array.from({ length: outstanding }, lane))
  return started
}

serveTasks(tasks)
