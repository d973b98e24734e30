import type { SendId } from '@messageu/protocol/v3'
import type { SentRecord } from '../archive.ts'
import { VarintReader, VarintWriter } from './varint.ts'

const idBytes = 16
export const sentDigestBytes = 8

/** What the deeds of a commit tell to whoever replays them. Bytes in a record are views. */
export interface DeedsReplay {
  sent(record: SentRecord): void
  acknowledged(device: number, through: number): void
}

const kinds = { sent: 1, acknowledged: 2 } as const

/** Numbers that come close to each other are kept as distances; a distance may go back. */
interface Base {
  position: number
  at: number
}

const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value)
const unzigzag = (value: number): number => (value % 2 === 0 ? value / 2 : -(value + 1) / 2)

/** The numbers of a record; its digest and id, in this order, are bytes elsewhere. */
export type SentNumbers = Omit<SentRecord, 'id' | 'digest'>

function put(numbers: VarintWriter, base: Base, sent: SentNumbers): void {
  numbers.put(sent.number)
  numbers.put(sent.conversation)
  numbers.put(sent.sequence)
  numbers.put(zigzag(sent.position - base.position))
  numbers.put(zigzag(sent.at - base.at))
  base.position = sent.position
  base.at = sent.at
}

function take(numbers: VarintReader, base: Base, device: number): SentRecord {
  const number = numbers.take()
  const conversation = numbers.take()
  const sequence = numbers.take()
  base.position += unzigzag(numbers.take())
  base.at += unzigzag(numbers.take())
  const digest = numbers.takeBytes(sentDigestBytes)
  const id = numbers.takeBytes(idBytes) as SendId // as many bytes as an id has
  return { device, number, id, conversation, sequence, digest, position: base.position, at: base.at }
}

/** What devices did in one commit: the sends that were accepted, and up to where something was acknowledged. */
export class Deeds {
  readonly #numbers = new VarintWriter(4096)
  #base: Base = { position: 0, at: 0 }

  begin(): void {
    this.#numbers.clear()
    this.#base = { position: 0, at: 0 }
  }

  /** `bytes` has the digest and the id of the send at `from`. */
  sent(sent: SentNumbers, bytes: Uint8Array, from: number): void {
    this.#numbers.put(kinds.sent)
    this.#numbers.put(sent.device)
    put(this.#numbers, this.#base, sent)
    this.#numbers.putBytes(bytes, from, sentDigestBytes + idBytes)
  }

  acknowledged(device: number, through: number): void {
    this.#numbers.put(kinds.acknowledged)
    this.#numbers.put(device)
    this.#numbers.put(through)
  }

  /** A view that is valid until the next `begin`; empty if nobody did anything. */
  bytes(): Uint8Array {
    return this.#numbers.written()
  }
}

/** Replays the deeds of one commit. Throws a RangeError for damaged bytes. */
export function replayDeeds(bytes: Uint8Array, replay: DeedsReplay): void {
  const numbers = new VarintReader(bytes)
  const base: Base = { position: 0, at: 0 }
  while (!numbers.done) {
    const kind = numbers.take()
    const device = numbers.take()
    if (kind === kinds.sent) replay.sent(take(numbers, base, device))
    else if (kind === kinds.acknowledged) replay.acknowledged(device, numbers.take())
    else throw new RangeError(`deeds of kind ${kind} in a journal`)
  }
}

/** Records of one device as one column. */
export function packSent(records: Iterable<SentRecord>): Uint8Array {
  const numbers = new VarintWriter(64)
  const base: Base = { position: 0, at: 0 }
  for (const record of records) {
    put(numbers, base, record)
    numbers.putBytes(record.digest, 0, sentDigestBytes)
    numbers.putBytes(record.id, 0, idBytes)
  }
  return numbers.written()
}

export function unpackSent(device: number, bytes: Uint8Array): SentRecord[] {
  const numbers = new VarintReader(bytes)
  const base: Base = { position: 0, at: 0 }
  const records: SentRecord[] = []
  while (!numbers.done) records.push(take(numbers, base, device))
  return records
}
