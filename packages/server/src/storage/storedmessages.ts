import type { SendId } from '@messageu/protocol/v3'
import type { StoredMessage, Waiting } from '../archive.ts'
import type { ContentFolder } from './contents.ts'
import { DamagedStorage } from './damage.ts'
import type { ContentRow } from './messagereader.ts'
import type { ReaderThread } from './readerthread.ts'
import { liesInFile, sealedHeadBytes } from './records.ts'
import type { YoungMessages } from './young.ts'

const idBytes = 16
/** What the reader thread is asked for in one go. */
const positionsPerRead = 256
const bytesPerRead = 2 ** 20

/** What is not young, and where among all that is read it stands. */
interface Cold extends Waiting {
  readonly index: number
}

/** Messages of version 3 read back: young ones from the ring, others from the database, large contents from files. */
export class StoredMessages {
  readonly #young: YoungMessages
  readonly #reader: ReaderThread
  readonly #contents: ContentFolder

  constructor(young: YoungMessages, reader: ReaderThread, contents: ContentFolder) {
    this.#young = young
    this.#reader = reader
    this.#contents = contents
  }

  async read(waiting: readonly Waiting[]): Promise<(StoredMessage | undefined)[]> {
    const read: (StoredMessage | undefined)[] = []
    const cold: Cold[] = []
    // copied before anything is waited for: the ring goes on
    for (let i = 0; i < waiting.length; i++) {
      const { position, bytes } = waiting[i] as Waiting // within its bounds
      const sealed = this.#young.get(position, bytes)
      if (sealed === undefined) cold.push({ index: i, position, bytes })
      read.push(sealed && opened(position, sealed, 0, bytes))
    }
    if (cold.length > 0) for (const run of runsOf(cold)) await this.#readRun(run, read)
    return read
  }

  async #readRun(run: readonly Cold[], read: (StoredMessage | undefined)[]): Promise<void> {
    const positions = new Float64Array(run.length)
    for (let i = 0; i < run.length; i++) positions[i] = (run[i] as Cold).position // within its bounds
    const { sealed, lengths, contents } = await this.#reader.read(positions)
    let at = 0
    for (let i = 0; i < run.length; i++) {
      const { index, position, bytes } = run[i] as Cold // within its bounds
      const from = at
      at += lengths[i] as number // of each that was asked for
      const content = contents.get(i)
      if (at - from + (content?.bytes ?? 0) !== bytes) continue // missing, damaged, or of another size
      read[index] =
        content === undefined
          ? opened(position, sealed, from, at)
          : await this.#withContent(position, sealed.subarray(from, at), content)
    }
  }

  async #withContent(position: number, head: Uint8Array, content: ContentRow): Promise<StoredMessage | undefined> {
    const whole = Buffer.allocUnsafe(content.bytes)
    let at = 0
    try {
      for await (const piece of this.#contents.read(content)) {
        whole.set(piece.bytes, at)
        at += piece.bytes.length
        piece.release()
      }
    } catch (error) {
      if (error instanceof DamagedStorage) return undefined
      throw error
    }
    return { ...opened(position, head, 0, head.length), content: whole }
  }
}

/** What is sealed between two places, as views of the same bytes. */
function opened(position: number, sealed: Uint8Array, from: number, to: number): StoredMessage {
  const id = sealed.subarray(from, from + idBytes) as SendId // as many bytes as an id has
  return { position, id, content: sealed.subarray(from + sealedHeadBytes, to) }
}

/** Parts that are small enough to be read in one go. */
function* runsOf(cold: readonly Cold[]): Generator<Cold[]> {
  let run: Cold[] = []
  let runBytes = 0
  for (const message of cold) {
    const bytes = liesInFile(message.bytes) ? sealedHeadBytes : message.bytes
    if (run.length === positionsPerRead || (run.length > 0 && runBytes + bytes > bytesPerRead)) {
      yield run
      run = []
      runBytes = 0
    }
    run.push(message)
    runBytes += bytes
  }
  yield run
}
