import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import {
  bool,
  bytes,
  type Codec,
  fixed,
  list,
  mapped,
  named,
  nothing,
  optional,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
  union,
} from '../../src/codec.ts'
import { malformed } from '../../src/errors.ts'
import { limits } from '../../src/v3/limits.ts'
import { type AccountName, accountName } from '../../src/v3/name.ts'

/** docs/protocol.md, as a second declaration of everything on the wire: its tables are read and made into codecs. */
export const document = readFileSync(new URL('../../../../docs/protocol.md', import.meta.url), 'utf8')

/** What the document says about a type: how it is written, and values to try it with. */
export interface Documented {
  readonly codec: Codec<unknown>
  readonly values: fc.Arbitrary<unknown>
  /** A few values, always the same: every case of a union, something and nothing, none and some. */
  readonly examples: readonly unknown[]
  /** Of a union or of named numbers: what its table defines. */
  readonly numbers?: Readonly<Record<string, number>>
  readonly shape: 'struct' | 'union' | 'numbers' | 'other'
}

/** The cells of a row, by the heading of their column. */
export type Row = (column: string) => string

interface Table {
  readonly section: string
  /** The name in bold above it, and what stands behind that. */
  readonly title: string
  readonly note: string
  readonly columns: readonly string[]
  readonly rows: readonly Row[]
}

const tables = tablesOf(document)

/** The document's tables in order, each with its title and the number of the section that it stands in. */
function tablesOf(markdown: string): Table[] {
  const found: Table[] = []
  let section = ''
  let title: RegExpExecArray | null = null
  let columns: string[] | undefined
  let rows: Row[] = []
  for (const line of markdown.split('\n')) {
    section = /^#+ ([\d.]*\d)/.exec(line)?.[1] ?? section
    if (!line.startsWith('|')) {
      columns = undefined
      if (line !== '') title = /^\*\*`(\w+)`\*\*(.*)$/.exec(line)
      continue
    }
    const cells = line.split('|').slice(1, -1)
    const trimmed = cells.map((cell) => cell.trim().replace(/^`([^`]*)`$/, '$1'))
    if (columns === undefined) {
      columns = trimmed
      rows = []
      found.push({ section, title: title?.[1] ?? '', note: title?.[2] ?? '', columns, rows })
      title = null
    } else if (!trimmed.every((cell) => /^-+$/.test(cell))) rows.push(rowOf(columns, trimmed))
  }
  return found
}

function rowOf(columns: readonly string[], cells: readonly string[]): Row {
  return (column) => cells[columns.indexOf(column)] ?? assert.fail(`no cell for ${column} beside ${cells[0]}`)
}

/** The one table whose first columns are these. */
export function onlyTable(...first: readonly string[]): readonly Row[] {
  const [table, ...others] = tables.filter(({ columns }) => first.every((column, i) => columns[i] === column))
  assert.ok(table !== undefined && others.length === 0, `one table of ${first.join(' and ')}`)
  return table.rows
}

export function integer(cell: string): number {
  assert.match(cell, /^\d{1,3}(,?\d{3})*$/)
  return Number(cell.replaceAll(',', ''))
}

const titled = new Map(tables.filter(({ title }) => title !== '').map((table) => [table.title, table]))
const aliases = new Map([
  ...onlyTable('name', 'is').map((row) => [row('name'), row('is')] as const),
  ...[...document.matchAll(/^\*\*`(\w+)`\*\* is `([^`]+)`\.$/gm)].map(([, name = '', is = '']) => [name, is] as const),
])

/** Every name of a type that the document defines. */
export const documentedNames: readonly string[] = [...titled.keys(), ...aliases.keys()]

/** The names whose tables stand in one of these sections. */
export function namesIn(...sections: readonly string[]): readonly string[] {
  return tables.flatMap(({ title, section }) => (title !== '' && sections.includes(section) ? [title] : []))
}

const known = new Map<string, Documented>()

/** What the document says about `name`. */
export function documented(name: string): Documented {
  const before = known.get(name)
  if (before !== undefined) return before
  const table = titled.get(name)
  const alias = aliases.get(name)
  const found = name === 'Name' ? nameType : table !== undefined ? tableType(table) : typed(alias ?? '')
  known.set(name, found)
  return found
}

/** The type that a cell of the document describes. */
export function typed(notation: string): Documented {
  const reader = new NotationReader(notation)
  const type = reader.type()
  reader.end()
  return type
}

const shortNames = fc.string({ unit: fc.constantFrom(...'abcxyz019'), minLength: 2, maxLength: 12 })
const nameValues = fc.oneof(
  shortNames,
  fc.constantFrom('Łucja', 'Марія', '李小龍', "O'Neil", 'राम', 'שרה_7', 'a b-c.d'),
)
const nameType: Documented = {
  codec: mapped(text({ max: limits.nameBytesMax }), { from: accountName, to: (name: AccountName): string => name }),
  values: nameValues,
  examples: ['alice', 'Łucja-7'],
  shape: 'other',
}

function tableType({ title, note, columns, rows }: Table): Documented {
  switch (columns[0] ?? '') {
    case 'field':
      return structType(rows.map((row) => [row('field'), row('type')]))
    case 'tag':
      return unionType(rows.map((row) => [row('case'), integer(row('tag')), row('body')]))
    case 'value': {
      const numbers = Object.fromEntries(rows.map((row) => [row('name'), integer(row('value'))]))
      assert.equal(Object.keys(numbers).length, rows.length, `${title} names each number once`)
      const size = { ' (`u8`)': u8, ' (`u16`)': u16 }[note] ?? assert.fail(`${title} says how large its numbers are`)
      const values = fc.constantFrom(...Object.keys(numbers))
      return { codec: named(size, numbers), values, examples: Object.keys(numbers), numbers, shape: 'numbers' }
    }
    default:
      return assert.fail(`${title} is no table of fields, tags or values`)
  }
}

function structType(fields: readonly (readonly [name: string, type: string | Documented])[]): Documented {
  const types = fields.map(([name, type]) => [name, typeof type === 'string' ? typed(type) : type] as const)
  return {
    codec: struct(Object.fromEntries(types.map(([name, { codec }]) => [name, codec]))),
    values: record(Object.fromEntries(types.map(([name, { values }]) => [name, values]))),
    examples: structExamples(types),
    shape: 'struct',
  }
}

/** As many as its field with the most has; fields of one type that stand side by side differ. */
function structExamples(fields: readonly (readonly [name: string, type: Documented])[]): readonly unknown[] {
  const count = Math.max(...fields.map(([, { examples }]) => examples.length))
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(fields.map(([name, { examples }], at) => [name, examples[(i + at) % examples.length]])),
  )
}

function unionType(cases: readonly (readonly [name: string, tag: number, body: string])[]): Documented {
  const types = cases.map(([name, tag, body]) => [name, { tag, body: typed(body) }] as const)
  return {
    codec: union(Object.fromEntries(types.map(([name, { tag, body }]) => [name, { tag, body: body.codec }]))),
    values: fc.oneof(...types.map(([kind, { body }]) => record({ kind: fc.constant(kind), body: body.values }))),
    examples: types.flatMap(([kind, { body }]) => body.examples.map((example) => ({ kind, body: example }))),
    numbers: Object.fromEntries(cases.map(([name, tag]) => [name, tag])),
    shape: 'union',
  }
}

/** fast-check makes some of its records without a prototype; decoded values are plain objects. */
function record(fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.record(fields, { noNullPrototype: true })
}

/** A list in ascending order of what its items begin with, each once. */
function setType(item: Documented, max: number): Documented {
  const compare = (one: unknown, other: unknown): number => Buffer.compare(beginningOf(one), beginningOf(other))
  const inOrder = (items: readonly unknown[]): readonly unknown[] =>
    items.toSorted(compare).filter((each, i, all) => i === 0 || compare(all[i - 1], each) < 0)
  const checked = (items: readonly unknown[]): readonly unknown[] => {
    const isStrict = items.every((each, i) => i === 0 || compare(items[i - 1], each) < 0)
    if (!isStrict) throw malformed('a set is not in order')
    return items
  }
  return {
    codec: mapped(list(item.codec, { max }), { from: checked, to: checked }),
    values: fc.array(item.values, { maxLength: Math.min(max, 3) }).map(inOrder),
    examples: [inOrder(item.examples.slice(0, max)), []],
    shape: 'other',
  }
}

function beginningOf(item: unknown): Uint8Array {
  const [first] = item instanceof Uint8Array ? [item] : Object.values(item as object) // of a struct
  return first instanceof Uint8Array ? first : assert.fail('a set is ordered by bytes')
}

/** Values are kept short: bounds are compared as numbers. */
const shortMax = 40
const integerType = (codec: Codec<number>, max: number): Documented => ({
  codec,
  values: fc.oneof(fc.integer({ min: 0, max: Math.min(max, 300) }), fc.integer({ min: 0, max }), fc.constant(max)),
  examples: [1, 0, max],
  shape: 'other',
})
const plainTypes: Readonly<Record<string, Documented>> = {
  u8: integerType(u8, 2 ** 8 - 1),
  u16: integerType(u16, 2 ** 16 - 1),
  u32: integerType(u32, 2 ** 32 - 1),
  u64: integerType(u64, Number.MAX_SAFE_INTEGER),
  bool: { codec: bool, values: fc.boolean(), examples: [true, false], shape: 'other' },
  nothing: { codec: nothing, values: fc.constant(undefined), examples: [undefined], shape: 'other' },
}

const upwards = (length: number) => Uint8Array.from({ length }, (_, i) => i + 1)
const downwards = (length: number) => Uint8Array.from({ length }, (_, i) => 0xff - i)

class NotationReader {
  readonly #notation: string
  #rest: string

  constructor(notation: string) {
    this.#notation = notation
    this.#rest = notation
  }

  type(): Documented {
    if (this.#rest.startsWith('{')) return this.#struct()
    const word = this.#take(/^\w+/)
    switch (word) {
      case 'bytes':
        return this.#bytes()
      case 'text': {
        const max = this.#bound('(')
        const texts = fc.string({ unit: 'binary', maxLength: Math.min(max, shortMax) })
        const values = texts.filter((value) => Buffer.byteLength(value) <= max)
        return { codec: text({ max }), values, examples: ['example.org:8443', '', 'é€😀'], shape: 'other' }
      }
      case 'list': {
        this.#take(/^\(/)
        const item = this.type()
        const max = this.#bound(', ')
        const values = fc.array(item.values, { maxLength: Math.min(max, 3) })
        return { codec: list(item.codec, { max }), values, examples: [item.examples.slice(0, max), []], shape: 'other' }
      }
      case 'set': {
        this.#take(/^\(/)
        const item = this.type()
        return setType(item, this.#bound(', '))
      }
      case 'optional': {
        this.#take(/^\(/)
        const inner = this.type()
        this.#take(/^\)/)
        const values = fc.option(inner.values, { nil: undefined })
        return { codec: optional(inner.codec), values, examples: [...inner.examples, undefined], shape: 'other' }
      }
      default:
        return plainTypes[word] ?? documented(word)
    }
  }

  end(): void {
    assert.equal(this.#rest, '', `all of ${this.#notation} is notation`)
    assert.notEqual(this.#notation, '', 'a type has a notation')
  }

  #bytes(): Documented {
    if (this.#rest.startsWith('(≤')) {
      const max = this.#bound('(')
      const values = fc.uint8Array({ maxLength: Math.min(max, shortMax) })
      return { codec: bytes({ max }), values, examples: [upwards(5), upwards(0)], shape: 'other' }
    }
    const length = integer(this.#take(/^\((\d+)\)/))
    const values = fc.uint8Array({ minLength: length, maxLength: length })
    return { codec: fixed(length), values, examples: [upwards(length), downwards(length)], shape: 'other' }
  }

  #struct(): Documented {
    this.#take(/^\{ /)
    const fields: [string, Documented][] = []
    do {
      const name = this.#take(/^\w+/)
      this.#take(/^: /)
      fields.push([name, this.type()])
    } while (this.#take(/^(?:, | \})/) === ', ')
    return structType(fields)
  }

  /** `≤ N)`: a number or a limit, perhaps with a number added or taken away. */
  #bound(before: '(' | ', '): number {
    this.#take(before === '(' ? /^\(/ : /^, /)
    this.#take(/^≤ /)
    const word = this.#take(/^\w+/)
    const entry = Object.entries(limits).find(([name]) => name === word)
    const more = /^ [+-] \d+(?=\))/.exec(this.#rest)?.[0] ?? ''
    this.#rest = this.#rest.slice(more.length)
    this.#take(/^\)/)
    return (entry === undefined ? integer(word) : entry[1]) + Number(more.replaceAll(' ', ''))
  }

  #take(pattern: RegExp): string {
    const found = pattern.exec(this.#rest) ?? assert.fail(`no notation: ${this.#rest} in ${this.#notation}`)
    this.#rest = this.#rest.slice(found[0].length)
    return found[1] ?? found[0]
  }
}
