import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { encode } from '@messageu/protocol'
import { Delivered, type MessageType } from '@messageu/protocol/v2'
import { prepareFiles, prepareFolder } from '../../src/storage/folder.ts'
import { skipPositions } from '../../src/storage/load.ts'
import { openMemory } from '../../src/storage/memory.ts'
import type { StorageLimits } from '../../src/storage/quotas.ts'
import { messageIdOf } from '../../src/storage/records.ts'
import { migrate, openForWriting } from '../../src/storage/schema.ts'
import type { Client, Fetched, IncomingContent, Room, Storage } from '../../src/storage.ts'
import { bytesOf, openSqliteIn } from '../world.ts'

/** What a test may ask of any kind of storage. */
export interface Wishes {
  readonly limits?: Partial<StorageLimits>
  /** The first message comes behind this position. */
  readonly position?: number
  /** Whether the disk has room above the part that stays free. */
  readonly diskHasRoom?: () => boolean
}

/** Each kind of storage that the contract holds for, empty, in a folder that it may use. */
export const kinds: Record<string, (folder: string, wishes?: Wishes) => Promise<Storage>> = {
  memory: async (_, wishes) => openMemory(wishes),
  sqlite: async (folder, { limits = {}, position = 0, diskHasRoom = () => true } = {}) => {
    if (position > 0) await skipTo(folder, position)
    const freeSpace = async () => ({ freeBytes: diskHasRoom() ? 2 ** 40 : 0, totalBytes: 2 ** 40 })
    return openSqliteIn(folder, { limits, freeSpace })
  },
}

export async function skipTo(folder: string, position: number): Promise<void> {
  await prepareFolder(folder)
  await prepareFiles(folder)
  const file = path.join(folder, 'server.db')
  migrate(file)
  const database = openForWriting(file)
  skipPositions(database, position)
  database.close()
}

export function roomFor(storage: Storage, recipient: Client, bytes: number): Room {
  const reserved = storage.reserve(recipient, bytes)
  if (reserved.kind !== 'reserved') throw new Error(reserved.kind)
  return reserved.room
}

export interface Sent {
  readonly position: number
  /** What the recipient is to get, head included. */
  readonly bytes: Buffer
}

/** A small message, as the version 2 listener stores it. */
export async function send(
  storage: Storage,
  sender: Client,
  recipient: Client,
  content: Uint8Array | string,
  type: MessageType = 'text',
): Promise<Sent> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  using room = roomFor(storage, recipient, bytes.length)
  const { position } = await storage.accept({ sender, room, type, content: bytes })
  return { position, bytes: delivered(sender, position, bytes, type) }
}

/** A message with a content of any size that goes through a file. */
export async function sendFile(
  storage: Storage,
  sender: Client,
  recipient: Client,
  content: Uint8Array,
): Promise<Sent> {
  using room = roomFor(storage, recipient, content.length)
  await using incoming = await storage.receive(content.length)
  await pour(incoming, content)
  const stored = await incoming.finish()
  const { position } = await storage.accept({ sender, room, type: 'file', content: stored })
  return { position, bytes: delivered(sender, position, content, 'file') }
}

export async function pour(incoming: IncomingContent, content: Uint8Array, pieceBytes = 65_536): Promise<void> {
  for (let at = 0; at < content.length; at += pieceBytes)
    if (!incoming.write(content.subarray(at, at + pieceBytes))) await incoming.room()
}

export function delivered(sender: Client, position: number, content: Uint8Array, type: MessageType = 'text'): Buffer {
  const head = { sender: sender.id, message: messageIdOf(position), type, contentBytes: content.length }
  return Buffer.concat([encode(Delivered, head), content])
}

export const everything = Number.MAX_SAFE_INTEGER

/** All that waits for somebody, as it would go over the wire. It stays there. */
export async function heard(storage: Storage, recipient: Client): Promise<Buffer> {
  return bytesOf(storage, storage.waiting(recipient, everything))
}

/** All that waits for somebody, who has it from then on. */
export async function taken(storage: Storage, recipient: Client): Promise<Buffer> {
  const fetched = storage.waiting(recipient, everything)
  const bytes = await bytesOf(storage, fetched)
  await storage.discard(fetched)
  return bytes
}

export const positionsOf = ({ positions }: Fetched): number[] => [...positions]

/** Seeds for a generator of its own, printed when a test fails: `SEED=… node --test …` repeats the run. */
export const seed = Number(process.env.SEED ?? randomBytes(4).readUInt32LE())

/** Random numbers that can be had again (mulberry32). */
export function randomFrom(start: number): { below(bound: number): number; pick<T>(from: readonly T[]): T } {
  let state = start >>> 0
  const below = (bound: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
  return { below, pick: (from) => from[below(from.length)] as (typeof from)[number] }
}

/** A data folder as it is now, as a crash would leave it. */
export function copyOf(folder: string, name: string): string {
  const copy = path.join(path.dirname(folder), `${path.basename(folder)}-${name}`)
  copyInto(folder, copy)
  return copy
}

function copyInto(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(from)) {
    if (name === 'server.db-shm') continue
    const [source, target] = [path.join(from, name), path.join(to, name)]
    if (statSync(source).isDirectory()) copyInto(source, target)
    else if (existsSync(source)) copyFileSync(source, target)
  }
}

/**
 * Prints a line of JSON for whoever started this process, before anything else happens: what was said is known even if
 * the process is killed in the next moment. Waits where the reader is slower.
 */
export function tell(event: object): void {
  const line = Buffer.from(`${JSON.stringify(event)}\n`)
  for (let at = 0; at < line.length; )
    try {
      at += writeSync(1, line, at)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
}
