import { crcOfFew } from './crc.ts'
import { copyInto, type RingConsumer, type RingProducer } from './ring.ts'

/** Writes the fields of a record one after the other, little-endian. */
export class FieldWriter {
  readonly #ring: RingProducer
  readonly #view: DataView
  #at: number

  constructor(ring: RingProducer, at: number) {
    this.#ring = ring
    this.#view = ring.view
    this.#at = at
  }

  /** The offset of the next field in the ring. */
  get at(): number {
    return this.#at
  }

  u8(value: number): void {
    this.#view.setUint8(this.#at, value)
    this.#at += 1
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true)
    this.#at += 4
  }

  f64(value: number): void {
    this.#view.setFloat64(this.#at, value, true)
    this.#at += 8
  }

  bytes(bytes: Uint8Array): void {
    copyInto(this.#ring, bytes, this.#at)
    this.#at += bytes.length
  }
}

/** Reads them back. */
export class FieldReader {
  readonly #view: DataView
  readonly #bytes: SharedArrayBuffer
  #at: number

  constructor({ view, bytes }: RingConsumer, at: number) {
    this.#view = view
    this.#bytes = bytes
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  u32(): number {
    const value = this.#view.getUint32(this.#at, true)
    this.#at += 4
    return value
  }

  f64(): number {
    const value = this.#view.getFloat64(this.#at, true)
    this.#at += 8
    return value
  }

  /** A view, valid until the record is committed. */
  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(this.#bytes, this.#at, length)
    this.#at += length
    return bytes
  }

  skip(bytes: number): void {
    this.#at += bytes
  }

  /** The CRC-32 of the next few bytes, without moving on. */
  crcAhead(bytes: number): number {
    return crcOfFew(this.#view, this.#at, bytes)
  }

  /** An unsigned 32-bit number `ahead` bytes from here, without moving on. */
  u32Ahead(ahead: number): number {
    return this.#view.getUint32(this.#at + ahead, true)
  }
}
