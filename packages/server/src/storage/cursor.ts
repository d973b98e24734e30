import { VarintReader, VarintWriter } from './varint.ts'

/** How far a mailbox was emptied: everything up to `through` is forgotten, except what is kept because it is damaged. */
export interface Cursor {
  readonly through: number
  readonly keeping: readonly number[]
}

export function isForgotten(cursor: Cursor | undefined, position: number): boolean {
  return cursor !== undefined && position <= cursor.through && !cursor.keeping.includes(position)
}

/** What two discards amount to, in whatever order they came: what either forgot is forgotten. */
export function joined(one: Cursor | undefined, other: Cursor): Cursor {
  if (one === undefined) return other
  const keeping = [...new Set([...one.keeping, ...other.keeping])]
  return {
    through: Math.max(one.through, other.through),
    keeping: keeping.filter((position) => !isForgotten(one, position) && !isForgotten(other, position)),
  }
}

/** The positions to keep as one column. */
export function keepingBytes(keeping: readonly number[]): Uint8Array {
  const numbers = new VarintWriter(16)
  for (const position of keeping) numbers.put(position)
  return numbers.written()
}

export function keepingOf(bytes: Uint8Array): number[] {
  const numbers = new VarintReader(bytes)
  const keeping: number[] = []
  while (!numbers.done) keeping.push(numbers.take())
  return keeping
}
