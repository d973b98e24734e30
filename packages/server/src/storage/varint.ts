/** Unsigned integers below 2^53 in base 128, least group first: small numbers take one byte. Bytes go in between. */
export class VarintWriter {
  #bytes: Uint8Array
  #length = 0

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity)
  }

  put(value: number): void {
    if (this.#length + 8 > this.#bytes.length) this.#grow()
    let left = value
    while (left >= 0x80) {
      this.#bytes[this.#length++] = (left & 0x7f) | 0x80
      left = left < 0x8000_0000 ? left >>> 7 : Math.floor(left / 128)
    }
    this.#bytes[this.#length++] = left
  }

  putBytes(bytes: Uint8Array, from: number, length: number): void {
    while (this.#length + length > this.#bytes.length) this.#grow()
    for (let i = from; i < from + length; i++) this.#bytes[this.#length++] = bytes[i] as number
  }

  /** What was written, as a view that the next write may change. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  #grow(): void {
    const grown = new Uint8Array(this.#bytes.length * 2 + 8)
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

export class VarintReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** Throws a RangeError for bytes that no `VarintWriter` wrote. */
  take(): number {
    let value = 0
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) break
      value += (byte & 0x7f) * scale
      if (byte < 0x80 && value <= Number.MAX_SAFE_INTEGER) return value
    }
    throw new RangeError('a number in a journal is cut short or too long')
  }

  /** A view of the next `length` bytes. */
  takeBytes(length: number): Uint8Array {
    const taken = this.#bytes.subarray(this.#at, this.#at + length)
    if (taken.length < length) throw new RangeError('bytes in a journal are cut short')
    this.#at += length
    return taken
  }
}
