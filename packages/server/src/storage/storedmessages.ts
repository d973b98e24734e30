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
    // copied before anything is waited for: the ring goes on
    const young = waiting.map(({ position, bytes }) => opened(position, this.#young.get(position, bytes)))
    const cold = waiting.filter((_, i) => young[i] === undefined)
    if (cold.length === 0) return young
    const found = new Map<number, StoredMessage | undefined>()
    for (const run of runsOf(cold)) await this.#readRun(run, found)
    return waiting.map(({ position }, i) => young[i] ?? found.get(position))
  }

  async #readRun(run: readonly Waiting[], found: Map<number, StoredMessage | undefined>): Promise<void> {
    const { sealed, lengths, contents } = await this.#reader.read(Float64Array.from(run, ({ position }) => position))
    let at = 0
    for (const [i, { position, bytes }] of run.entries()) {
      const length = lengths[i] as number // of each that was asked for
      const form = sealed.subarray(at, at + length)
      at += length
      const content = contents.get(i)
      if (length + (content?.bytes ?? 0) !== bytes) continue // missing, damaged, or of another size
      if (content === undefined) found.set(position, opened(position, form))
      else found.set(position, await this.#withContent(position, form, content))
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
    return { position, id: idIn(head), content: whole }
  }
}

function opened(position: number, sealed: Uint8Array | undefined): StoredMessage | undefined {
  return sealed && { position, id: idIn(sealed), content: sealed.subarray(sealedHeadBytes) }
}

const idIn = (sealed: Uint8Array): SendId => sealed.subarray(0, idBytes) as SendId // as many bytes as an id has

/** Parts that are small enough to be read in one go. */
function* runsOf(waiting: readonly Waiting[]): Generator<Waiting[]> {
  let run: Waiting[] = []
  let runBytes = 0
  for (const message of waiting) {
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
