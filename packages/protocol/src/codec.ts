import { malformed } from './errors.ts'
import { utf8Decode, utf8Encode } from './utf8.ts'

/**
 * One declaration of something on the wire: its type (`Infer`), its encoder and its decoder.
 *
 * `min` and `max` bound the encoded size in bytes, so that a caller can refuse a length before it allocates. Decoders
 * throw `ProtocolError` with reason `malformed` and nothing else; they copy what they keep, so a value never pins the
 * buffer that it was read from.
 */
export interface Codec<T> {
  readonly min: number
  readonly max: number
  write(sink: Sink, value: T): void
  read(source: Source): T
}

export type Infer<C> = C extends Codec<infer T> ? T : never

/** Marks a type whose values were checked once; `Brand<'ClientId'>` is not `Brand<'PublicKey'>`. */
export type Brand<Name extends string> = { readonly __brand: Name }

/** Bytes being read. Every step checks that enough are left. */
class Source {
  readonly bytes: Uint8Array
  readonly #kept: 'copies' | 'views'
  #offset = 0

  constructor(bytes: Uint8Array, kept: 'copies' | 'views') {
    // a Node Buffer is a Uint8Array whose slice() does not copy: everything below reads a plain view
    const isPlain = bytes.constructor === Uint8Array
    this.bytes = isPlain ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#kept = kept
  }

  get left(): number {
    return this.bytes.length - this.#offset
  }

  /** Bytes to keep. */
  take(count: number): Uint8Array {
    const start = this.#advance(count)
    return this.#kept === 'views'
      ? new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, count)
      : this.bytes.slice(start, start + count)
  }

  uint(size: 1 | 2 | 4): number {
    const at = this.#advance(size)
    if (size === 1) return this.bytes[at] as number // within its bounds
    return size === 2 ? this.#uint16(at) : this.#uint32(at)
  }

  uint64(): number {
    const at = this.#advance(8)
    return this.#uint32(at + 4) * 2 ** 32 + this.#uint32(at)
  }

  #uint16(at: number): number {
    return (this.bytes[at] as number) | ((this.bytes[at + 1] as number) << 8)
  }

  #uint32(at: number): number {
    return (this.#uint16(at) | (this.#uint16(at + 2) << 16)) >>> 0
  }

  #advance(count: number): number {
    if (count > this.left) throw malformed(`ends ${count - this.left} bytes too early`)
    const start = this.#offset
    this.#offset += count
    return start
  }
}

/** Bytes being written; grows as needed. */
class Sink {
  #bytes: Uint8Array
  #length: number

  /** @param length bytes in front that somebody else fills */
  constructor(capacity: number, length: number) {
    this.#bytes = new Uint8Array(length + capacity)
    this.#length = length
  }

  put(bytes: Uint8Array): void {
    const at = this.#advance(bytes.length)
    this.#bytes.set(bytes, at)
  }

  uint(size: 1 | 2 | 4, value: number): void {
    const at = this.#advance(size)
    for (let i = 0; i < size; i++) this.#bytes[at + i] = value >>> (8 * i)
  }

  uint64(value: number): void {
    this.uint(4, value % 2 ** 32)
    this.uint(4, Math.floor(value / 2 ** 32))
  }

  done(): Uint8Array {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.#length)
  }

  #advance(count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2))
      grown.set(this.#bytes)
      this.#bytes = grown
    }
    return at
  }
}

/** The bytes of `value`. A value outside its declared limits throws `malformed`: we never send what a peer refuses. */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  return encodeBehind(0, codec, value)
}

/** The same behind so many zeros, which the caller fills. */
export function encodeBehind<T>(head: number, codec: Codec<T>, value: T): Uint8Array {
  const sink = new Sink(Math.min(codec.max, Math.max(codec.min, 256)), head)
  codec.write(sink, value)
  return sink.done()
}

/** The one value that `bytes` stand for; bytes that are left over are refused. */
export function decode<T>(codec: Codec<T>, bytes: Uint8Array): T {
  return decodeFrom(codec, bytes, 'copies')
}

/** The same, but what it consists of are views of `bytes`: for whoever does not keep it, and sees to it that they stay. */
export function decodeInPlace<T>(codec: Codec<T>, bytes: Uint8Array): T {
  return decodeFrom(codec, bytes, 'views')
}

function decodeFrom<T>(codec: Codec<T>, bytes: Uint8Array, kept: 'copies' | 'views'): T {
  if (bytes.length > codec.max) throw malformed(`${bytes.length} bytes where at most ${codec.max} may stand`)
  const source = new Source(bytes, kept)
  const value = codec.read(source)
  if (source.left > 0) throw malformed(`${source.left} bytes too many`)
  return value
}

/** An unsigned little-endian integer of `size` bytes. */
function uint(size: 1 | 2 | 4): Codec<number> {
  const limit = 2 ** (8 * size)
  return {
    min: size,
    max: size,
    write(sink, value) {
      if (!Number.isInteger(value) || value < 0 || value >= limit)
        throw malformed(`${value} does not fit ${size} bytes`)
      sink.uint(size, value)
    },
    read: (source) => source.uint(size),
  }
}

export const u8 = uint(1)
export const u16 = uint(2)
export const u32 = uint(4)

/** An unsigned little-endian integer of 8 bytes, of which 53 bits may be used: every language can count that far. */
export const u64: Codec<number> = {
  min: 8,
  max: 8,
  write(sink, value) {
    if (!Number.isSafeInteger(value) || value < 0) throw malformed(`${value} is no whole number below 2^53`)
    sink.uint64(value)
  },
  read(source) {
    const value = source.uint64()
    if (!Number.isSafeInteger(value)) throw malformed('a number of 2^53 or more')
    return value
  },
}

/** No bytes at all. */
export const nothing: Codec<undefined> = { min: 0, max: 0, write() {}, read: () => undefined }

/** Exactly `length` bytes, with no length on the wire. */
export function fixed<T extends Uint8Array = Uint8Array>(length: number): Codec<T> {
  return {
    min: length,
    max: length,
    write(sink, value) {
      if (value.length !== length) throw malformed(`${value.length} bytes where ${length} are due`)
      sink.put(value)
    },
    read: (source) => source.take(length) as T, // its length was just checked, and nothing else is promised
  }
}

/** Up to `max` bytes behind their length (4 bytes). */
export function bytes({ max }: { max: number }): Codec<Uint8Array> {
  return {
    min: 4,
    max: 4 + max,
    write(sink, value) {
      if (value.length > max) throw malformed(`${value.length} bytes where at most ${max} may stand`)
      sink.uint(4, value.length)
      sink.put(value)
    },
    read(source) {
      const length = source.uint(4)
      if (length > max) throw malformed(`${length} bytes announced where at most ${max} may stand`)
      return source.take(length)
    },
  }
}

/** Text of up to `max` bytes of UTF-8 behind their length (4 bytes). */
export function text({ max }: { max: number }): Codec<string> {
  return mapped(bytes({ max }), { from: utf8Decode, to: utf8Encode })
}

/** The same bytes under another type. `from` throws `malformed` for what the type does not allow. */
export function mapped<A, B>(codec: Codec<A>, { from, to }: { from: (a: A) => B; to: (b: B) => A }): Codec<B> {
  return {
    min: codec.min,
    max: codec.max,
    write: (sink, value) => codec.write(sink, to(value)),
    read: (source) => from(codec.read(source)),
  }
}

/** One of the named numbers, as its name. */
export function named<Name extends string>(codec: Codec<number>, names: Readonly<Record<Name, number>>): Codec<Name> {
  const byNumber = new Map<number, Name>()
  for (const name in names) byNumber.set(names[name], name)
  if (byNumber.size < Object.keys(names).length) throw new Error('one number has two names')
  return mapped(codec, {
    from(number) {
      const name = byNumber.get(number)
      if (name === undefined) throw malformed(`no meaning is defined for the number ${number}`)
      return name
    },
    to: (name) => names[name],
  })
}

/** 0 for no, 1 for yes; nothing else. */
export const bool: Codec<boolean> = mapped(named(u8, { no: 0, yes: 1 }), {
  from: (word) => word === 'yes',
  to: (value) => (value ? 'yes' : 'no'),
})

/** 0 for nothing, or 1 and the value. */
export function optional<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    min: 1,
    max: 1 + codec.max,
    write(sink, value) {
      bool.write(sink, value !== undefined)
      if (value !== undefined) codec.write(sink, value)
    },
    read: (source) => (bool.read(source) ? codec.read(source) : undefined),
  }
}

type Fields = Readonly<Record<string, Codec<unknown>>>
type ValueOf<F extends Fields> = { [K in keyof F]: Infer<F[K]> }

/** A number as a key would change the order of the fields, and `__proto__` the value's prototype. */
const fieldName = /^[a-z]\w*$/i

/** The fields in the order in which they are declared, with nothing between them. */
export function struct<const F extends Fields>(fields: F): Codec<ValueOf<F>> {
  const entries = Object.entries(fields)
  for (const [name] of entries) if (!fieldName.test(name)) throw new Error(`${name} cannot name a field`)
  return {
    min: entries.reduce((sum, [, codec]) => sum + codec.min, 0),
    max: entries.reduce((sum, [, codec]) => sum + codec.max, 0),
    write(sink, value) {
      for (const [name, codec] of entries) codec.write(sink, value[name])
    },
    read(source) {
      const value: Record<string, unknown> = {}
      for (const [name, codec] of entries) value[name] = codec.read(source)
      return value as ValueOf<F> // the loop above gave every key of F the value of its codec
    },
  }
}

/** Up to `max` items behind their count (4 bytes). */
export function list<T>(item: Codec<T>, { max }: { max: number }): Codec<readonly T[]> {
  mustTakeBytes(item)
  return {
    min: 4,
    max: 4 + max * item.max,
    write(sink, items) {
      if (items.length > max) throw malformed(`${items.length} items where at most ${max} may stand`)
      sink.uint(4, items.length)
      for (const each of items) item.write(sink, each)
    },
    read(source) {
      const count = source.uint(4)
      // an item takes at least item.min bytes: a count that cannot fit is refused before anything is allocated
      if (count > max || count * item.min > source.left) throw malformed(`${count} items announced`)
      return Array.from({ length: count }, () => item.read(source))
    },
  }
}

/** Items one after the other up to the end, with no count on the wire; at most `max`. */
export function rest<T>(item: Codec<T>, { max }: { max: number }): Codec<readonly T[]> {
  mustTakeBytes(item)
  return {
    min: 0,
    max: max * item.max,
    write(sink, items) {
      if (items.length > max) throw malformed(`${items.length} items where at most ${max} may stand`)
      for (const each of items) item.write(sink, each)
    },
    read(source) {
      const items: T[] = []
      while (source.left > 0) {
        if (items.length === max) throw malformed(`more than ${max} items`)
        items.push(item.read(source))
      }
      return items
    },
  }
}

/** Items that may be empty would let a peer announce any number of them for nothing. */
function mustTakeBytes(item: Codec<unknown>): void {
  if (item.min === 0) throw new Error('an item takes at least one byte')
}

type Cases = Readonly<Record<string, { readonly tag: number; readonly body: Codec<unknown> }>>
type CaseOf<C extends Cases> = { [K in keyof C]: { kind: K; body: Infer<C[K]['body']> } }[keyof C]

/** One of several bodies behind a tag byte that says which. An unknown tag is refused. */
export function union<const C extends Cases>(cases: C): Codec<CaseOf<C>> {
  const kinds = Object.keys(cases)
  const tag = named(u8, Object.fromEntries(kinds.map((kind) => [kind, (cases[kind] as Cases[string]).tag])))
  const body = (kind: string): Codec<unknown> => (cases[kind] as Cases[string]).body
  return {
    min: 1 + Math.min(...kinds.map((kind) => body(kind).min)),
    max: 1 + Math.max(...kinds.map((kind) => body(kind).max)),
    write(sink, value) {
      tag.write(sink, value.kind as string)
      body(value.kind as string).write(sink, value.body)
    },
    read(source) {
      const kind = tag.read(source)
      return { kind, body: body(kind).read(source) } as CaseOf<C> // kind and body come from the same case
    },
  }
}
