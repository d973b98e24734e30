import assert from 'node:assert'
import { constants, fdatasync, writev } from 'node:fs'
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { ProtocolError } from '@messageu/protocol'
import type { IncomingContent, Piece, StoredContent } from '../storage.ts'
import { contentDigestLike, newContentDigest } from './contentdigest.ts'
import { DamagedStorage } from './damage.ts'
import { ReadAhead } from './readahead.ts'

interface PieceBytes {
  readonly read: number
  readonly written: number
}

/** Every piece costs a turn of the loop and some wake-ups: the fewer transfers there are, the larger they may be. */
const lonePieces: PieceBytes = { read: 2 ** 21, written: 2 ** 20 }
const loneTransfers = 2
const fewPieces: PieceBytes = { read: 2 ** 18, written: 2 ** 19 }
const fewTransfers = 15
const manyPieces: PieceBytes = { read: 2 ** 17, written: 2 ** 17 }
/** Writes of one upload that are under way at the same time. */
const writesPerUpload = 3
/** Pieces in one write, so that a peer's tiny packets do not pile up as tiny buffers. */
const piecesPerWrite = 256
/** Dirty bytes after which the disk is told to begin, so that the last sync is short. */
const syncEveryBytes = 64 * 2 ** 20

const datasync = promisify(fdatasync)
const notFollowing = constants.O_NOFOLLOW

/**
 * Contents that are too large for a row: one file each, named by a number that the server counts up. A file appears
 * under its name whole and durable or not at all. Files that no row names are what a crash left behind.
 */
export class ContentFolder {
  readonly #folder: string
  readonly #incoming: string
  readonly #handle: FileHandle
  /** Received, or being received, and not taken over by a message. */
  readonly #loose = new Set<number>()
  #nextId: number
  #transfers = 0

  private constructor(folder: string, handle: FileHandle, nextId: number) {
    this.#folder = folder
    this.#incoming = path.join(folder, 'incoming')
    this.#handle = handle
    this.#nextId = nextId
  }

  /** Opens the folder. `known` are the contents that belong to messages: all others are removed. */
  static async open(folder: string, known: ReadonlySet<number>): Promise<{ contents: ContentFolder; orphans: number }> {
    const incoming = path.join(folder, 'incoming')
    let orphans = 0
    let highest = 0
    for (const name of await readdir(incoming)) {
      await unlink(path.join(incoming, name))
      orphans += 1
    }
    for (const id of await contentIds(folder)) {
      highest = Math.max(highest, id)
      if (known.has(id)) continue
      await unlink(path.join(folder, String(id)))
      orphans += 1
    }
    for (const id of known) highest = Math.max(highest, id)
    const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
    return { contents: new ContentFolder(folder, handle, highest + 1), orphans }
  }

  /** Uploads and downloads that are under way. */
  get transfers(): number {
    return this.#transfers
  }

  /** `release` is told of each piece that is in the file. */
  async receive(release: (piece: Uint8Array) => void = () => {}): Promise<IncomingContent> {
    const id = this.#nextId++
    const temporary = path.join(this.#incoming, String(id))
    const final = path.join(this.#folder, String(id))
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | notFollowing
    const file = await open(temporary, flags, 0o600).catch(refuseForDisk)
    this.#loose.add(id)
    this.#transfers += 1
    return new IncomingFile(file, this.#pieceBytes.written, {
      written: release,
      finished: async (bytes, digest) => {
        await rename(temporary, final)
        await this.#handle.sync()
        return { id, bytes, digest }
      },
      ended: async () => {
        this.#transfers -= 1
        if (!this.#loose.delete(id)) return
        for (const name of [temporary, final]) await unlink(name).catch(ignoreMissing)
      },
    })
  }

  /** Lets a message take over a content: from then on it stays until it is removed. */
  claim({ id }: StoredContent): void {
    assert(this.#loose.delete(id), 'a content belongs to one message')
  }

  /** Keeps a content that is in memory as a whole; it is claimed. */
  async store(content: Uint8Array): Promise<StoredContent> {
    await using incoming = await this.receive()
    incoming.write(content)
    const stored = await incoming.finish()
    this.claim(stored)
    return stored
  }

  /** The bytes of a content. Throws `DamagedStorage`, before the last piece, if they are not what was stored. */
  async *read({ id, bytes, digest }: StoredContent): AsyncGenerator<Piece> {
    const file = await this.#openContent(id)
    this.#transfers += 1
    let reading: ReadAhead | undefined
    try {
      if ((await file.stat()).size !== bytes) throw new DamagedStorage(`content/${id}`, `it should have ${bytes} bytes`)
      const ahead = new ReadAhead(file, bytes, this.#pieceBytes.read)
      reading = ahead
      const seen = contentDigestLike(digest)
      for (let left = bytes; left > 0; ) {
        const { buffer, bytes: piece, wanted } = await ahead.next()
        left -= wanted
        seen.add(piece)
        if (piece.length !== wanted || (left === 0 && seen.value() !== digest))
          throw new DamagedStorage(`content/${id}`, 'its bytes do not match their digest')
        yield { bytes: piece, release: () => ahead.give(buffer) }
      }
    } finally {
      this.#transfers -= 1
      await reading?.close()
      await file.close()
    }
  }

  /** Removes contents whose messages are gone. What cannot be removed now is removed by the next start. */
  async remove(ids: readonly number[]): Promise<void> {
    for (const id of ids) await unlink(path.join(this.#folder, String(id))).catch(() => {})
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  get #pieceBytes(): PieceBytes {
    if (this.#transfers <= loneTransfers) return lonePieces
    return this.#transfers <= fewTransfers ? fewPieces : manyPieces
  }

  async #openContent(id: number): Promise<FileHandle> {
    try {
      return await open(path.join(this.#folder, String(id)), constants.O_RDONLY | notFollowing)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ELOOP') throw new DamagedStorage(`content/${id}`, `it is missing (${code})`)
      throw error
    }
  }
}

/** The ids of the files in a content folder; files with other names are not ours and stay. */
export async function contentIds(folder: string): Promise<number[]> {
  return (await readdir(folder).catch(() => [])).filter((name) => /^[1-9][0-9]{0,15}$/.test(name)).map(Number)
}

export function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

/** What the disk says becomes the refusal that a peer gets: nothing was stored, and it may go better later. */
function refuseForDisk(error: NodeJS.ErrnoException): never {
  throw new ProtocolError('storage-full', `a content cannot be stored now (${error.code})`, { cause: error })
}

interface FileEvents {
  /** The piece is not needed any more. */
  written(piece: Uint8Array): void
  finished(bytes: number, digest: number): Promise<StoredContent>
  ended(): Promise<void>
}

/** Gathers the pieces that come from the network and writes many at once, without copying them. */
class IncomingFile implements IncomingContent {
  readonly #file: FileHandle
  readonly #writeBytes: number
  readonly #events: FileEvents
  #pieces: Uint8Array[] = []
  #gathered = 0
  #written = 0
  readonly #digest = newContentDigest()
  #unsynced = 0
  /** Writes under way; what fails is kept for whoever waits next. */
  readonly #underWay = new Set<Promise<void>>()
  #failure: unknown
  #disposed = false

  constructor(file: FileHandle, writeBytes: number, events: FileEvents) {
    this.#file = file
    this.#writeBytes = writeBytes
    this.#events = events
  }

  write(piece: Uint8Array): boolean {
    this.#digest.add(piece)
    this.#pieces.push(piece)
    this.#gathered += piece.length
    if (this.#gathered >= this.#writeBytes || this.#pieces.length >= piecesPerWrite) this.#flush()
    return this.#underWay.size < writesPerUpload && this.#failure === undefined
  }

  async room(): Promise<void> {
    while (this.#underWay.size >= writesPerUpload) await Promise.race(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
  }

  async finish(): Promise<StoredContent> {
    this.#flush()
    await Promise.all(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
    await this.#file.datasync().catch(refuseForDisk)
    return await this.#events.finished(this.#written, this.#digest.value()).catch(refuseForDisk)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    await Promise.all(this.#underWay)
    try {
      await this.#file.close()
    } finally {
      await this.#events.ended()
    }
  }

  #flush(): void {
    if (this.#gathered === 0) return
    const at = this.#written
    this.#written += this.#gathered
    this.#unsynced += this.#gathered
    this.#start(this.#writeOut(this.#pieces, this.#gathered, at))
    if (this.#unsynced >= syncEveryBytes) {
      this.#unsynced = 0
      this.#start(datasync(this.#file.fd))
    }
    this.#pieces = []
    this.#gathered = 0
  }

  async #writeOut(pieces: Uint8Array[], bytes: number, at: number): Promise<void> {
    await writeAll(this.#file.fd, pieces, bytes, at)
    for (const piece of pieces) this.#events.written(piece)
  }

  #start(work: Promise<void>): void {
    const watched = work.catch(refuseForDisk).catch((error: unknown) => {
      this.#failure ??= error
    })
    this.#underWay.add(watched)
    void watched.then(() => this.#underWay.delete(watched))
  }
}

/** Writes all pieces at `at`. A disk that takes only a part of them fails the write with the reason at the next try. */
async function writeAll(descriptor: number, pieces: Uint8Array[], bytes: number, at: number): Promise<void> {
  let written = await writeSome(descriptor, pieces, at)
  if (written === bytes) return
  const whole = Buffer.concat(pieces)
  while (written < bytes) {
    const more = await writeSome(descriptor, [whole.subarray(written)], at + written)
    if (more === 0) throw new Error('the disk takes no more bytes and gives no reason')
    written += more
  }
}

function writeSome(descriptor: number, pieces: Uint8Array[], at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(descriptor, pieces, at, (error, written) => (error ? reject(error) : resolve(written)))
  })
}
