import { randomBytes } from 'node:crypto'
import type { SendId } from '@messageu/protocol/v3'
import { type Archive, archiveLimits, type BoxMessage, type BoxReader, type Waiting } from '../../src/archive.ts'
import { openMemory } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage.ts'
import { openSqliteIn, temporaryFolder } from '../world.ts'
import { skipTo } from './world.ts'

/** What a test may ask of any kind of archive. */
export interface ArchiveWishes {
  /** The first message comes behind this position. */
  readonly position?: number
  readonly nowMs?: () => number
  /** Whether the disk has room above the part that stays free. */
  readonly diskHasRoom?: () => boolean
}

/** Each kind of archive that the contract holds for, and whether it remembers anything over a restart. */
export const archiveKinds: Record<
  string,
  { remembers: boolean; open(folder: string, wishes: ArchiveWishes): Promise<Storage> }
> = {
  memory: { remembers: false, open: async (_, wishes) => openMemory(wishes) },
  sqlite: {
    remembers: true,
    open: async (folder, { nowMs = Date.now, diskHasRoom = () => true }) =>
      openSqliteIn(folder, {
        nowMs,
        freeSpace: async () => ({ freeBytes: diskHasRoom() ? 2 ** 40 : 0, totalBytes: 2 ** 40 }),
      }),
  },
}

export interface ArchiveWorld extends AsyncDisposable {
  readonly folder: string
  readonly storage: Storage
  readonly archive: Archive
  /** Closes and opens again, where that means anything: what was in memory is gone. */
  restart(): Promise<void>
}

export async function startArchive(kind: string, wishes: ArchiveWishes = {}): Promise<ArchiveWorld> {
  const { open, remembers } = archiveKinds[kind] as (typeof archiveKinds)[string]
  const folder = await temporaryFolder()
  if (remembers && wishes.position !== undefined) await skipTo(folder.path, wishes.position)
  let storage = await open(folder.path, wishes)
  return {
    folder: folder.path,
    get storage() {
      return storage
    },
    get archive() {
      return storage.archive
    },
    async restart() {
      if (!remembers) return
      await storage[Symbol.asyncDispose]()
      storage = await open(folder.path, wishes)
    },
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** The numbers of boxes from 0 on. */
export const box = (number: number): number => archiveLimits.firstBox + number

export const newSendId = (): SendId => Uint8Array.from(randomBytes(16)) as SendId

export function message(to: number, content: Uint8Array | string): BoxMessage {
  return { box: to, id: newSendId(), content: Buffer.from(content) }
}

/** A message that a device has sent. */
export function sent(to: number, device: number, number: number, content: Uint8Array | string = ''): BoxMessage {
  const digest = randomBytes(8)
  return { ...message(to, content), sent: { device, number, conversation: 7, sequence: 100 + number, digest } }
}

/** All that a reader shows from where it is. */
export function allOf(reader: BoxReader): Waiting[] {
  const all: Waiting[] = []
  for (let next = reader.peek(); next !== undefined; next = reader.peek()) {
    all.push(next)
    reader.advance()
  }
  return all
}

/** The contents of a box, in order; `damaged` for what cannot be read. */
export async function contentsOf(archive: Archive, of: number, after = 0): Promise<string[]> {
  const found = await archive.read(allOf(archive.reader(of, after)))
  return found.map((each) => (each === undefined ? 'damaged' : Buffer.from(each.content).toString()))
}

export const text = (string: string): Uint8Array => Uint8Array.from(Buffer.from(string))
