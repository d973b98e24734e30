import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type Codec, decode, encode } from '../../src/codec.ts'
import { limits } from '../../src/v2/limits.ts'
import {
  Addressed,
  ClientId,
  Delivered,
  Listed,
  messageTypes,
  PublicKey,
  PublicKeyOf,
  Receipt,
  Registration,
  RequestHeader,
  ResponseHeader,
  Target,
} from '../../src/v2/messages.ts'
import { answerHeader, operations, refusal } from '../../src/v2/operations.ts'
import { encodeRequest } from '../../src/v2/request.ts'
import { joined } from '../fuzz.ts'
import { clientId, name } from './samples.ts'

const document = readFileSync(new URL('../../../../docs/protocol-v2.md', import.meta.url), 'utf8')

/** The cells of a row, by the heading of their column. */
type Row = (column: string) => string

interface Table {
  readonly section: string
  readonly columns: readonly string[]
  readonly rows: readonly Row[]
}

/** The document's tables in order, each with the number of the section that it stands in. */
function tablesOf(markdown: string): Table[] {
  const tables: Table[] = []
  let section = ''
  let columns: string[] | undefined
  let rows: Row[] = []
  for (const line of markdown.split('\n')) {
    section = /^#+ ([\d.]*\d)/.exec(line)?.[1] ?? section
    if (!line.startsWith('|')) {
      columns = undefined
      continue
    }
    const cells = line.split('|').slice(1, -1)
    const trimmed = cells.map((cell) => cell.trim().replace(/^`(.*)`$/, '$1'))
    if (columns === undefined) {
      columns = trimmed
      rows = []
      tables.push({ section, columns, rows })
    } else if (!trimmed.every((cell) => /^-+$/.test(cell))) rows.push(rowOf(columns, trimmed))
  }
  return tables
}

function rowOf(columns: readonly string[], cells: readonly string[]): Row {
  return (column) => cells[columns.indexOf(column)] ?? assert.fail(`no cell for ${column} beside ${cells[0]}`)
}

const tables = tablesOf(document)

function tablesIn(section: string, firstColumn: string): Table[] {
  return tables.filter((table) => table.section === section && table.columns[0] === firstColumn)
}

function onlyTable(section: string, firstColumn: string): readonly Row[] {
  const [table, ...others] = tablesIn(section, firstColumn)
  assert.ok(table !== undefined && others.length === 0, `one table of ${firstColumn} in §${section}`)
  return table.rows
}

function integer(cell: string): number {
  assert.match(cell, /^[\d,]+$/)
  return Number(cell.replaceAll(',', ''))
}

describe('docs/protocol-v2.md', () => {
  test('has the sections that the source refers to', () => {
    const found = [...document.matchAll(/^##+ ([\d.]*\d)/gm)].map((match) => match[1])
    const third = [1, 2, 3, 4, 5].map((n) => `3.${n}`)
    const sixth = [1, 2, 3, 4, 5].map((n) => `6.${n}`)
    assert.deepEqual(found, ['1', '2', '3', ...third, '4', '5', '6', ...sixth, '7', '8', '9', '10', '11'])
  })

  test('lists the requests with their codes, payloads and answers', () => {
    const written = onlyTable('2', 'code').map((row) => ({
      code: integer(row('code')),
      kind: row('request'),
      payload: row('payload bytes'),
      answer: integer(row('answer')),
    }))
    const declared = Object.entries(operations).map(([kind, { code, request, content, answer }]) => ({
      code,
      kind,
      payload: content ? `${request.min} + content` : `${request.min}`,
      answer,
    }))
    assert.deepEqual(written, declared)
  })

  test('has the error answer', () => {
    const written = onlyTable('4', 'code').map((row) => [integer(row('code')), integer(row('payload bytes'))])
    const { code, payloadBytes } = decode(ResponseHeader, refusal)
    assert.deepEqual(written, [[code, payloadBytes]])
  })

  test('lists the message types', () => {
    const written = onlyTable('5', 'type').map((row) => [row('name'), integer(row('type'))])
    assert.deepEqual(written, Object.entries(messageTypes))
  })

  test('lists the limits', () => {
    const written = onlyTable('7', 'limit').map((row) => [row('limit'), integer(row('value'))])
    assert.deepEqual(written, Object.entries(limits))
  })

  test('has no large number in its prose that is not a limit', () => {
    const large = [...document.matchAll(/\d{1,3}(?:,\d{3}){2,}/g)].map(([digits]) => integer(digits))
    assert.deepEqual(new Set(large), new Set(Object.values(limits).filter((limit) => limit > 999_999)))
  })

  test('names in its prose the sizes of answers that a client expects', () => {
    const sizes: Record<string, number> = { register: ClientId.max, list: Listed.max, key: PublicKeyOf.max }
    const said = [...document.matchAll(/(\d+) for `(\w+)`/g)].map((match) => [match[2], Number(match[1])])
    assert.deepEqual(said, Object.entries({ ...sizes, send: Receipt.max }))
    assert.match(document, new RegExp(`payload's size divided by ${Listed.max}\\.`))
  })
})

// Two values per structure that differ in the first byte of every field: that shows where each field begins.
const one = { client: clientId(1), name: name('aa'), publicKey: decode(PublicKey, new Uint8Array(160).fill(1)) }
const two = { client: clientId(2), name: name('bb'), publicKey: decode(PublicKey, new Uint8Array(160).fill(2)) }

describe('docs/protocol-v2.md: the fields of', () => {
  check('2', 0, 'a request header', RequestHeader, [
    { client: one.client, version: 1, code: 1, payloadBytes: 1 },
    { client: two.client, version: 2, code: 2, payloadBytes: 2 },
  ])
  check('3.1', 0, 'a registration', Registration, [
    { name: one.name, publicKey: one.publicKey },
    { name: two.name, publicKey: two.publicKey },
  ])
  check('3.1', 1, 'an answer to a registration', Target, [{ client: one.client }, { client: two.client }])
  check('3.2', 0, 'an entry of the list', Listed, [
    { client: one.client, name: one.name },
    { client: two.client, name: two.name },
  ])
  check('3.3', 0, 'a key request', Target, [{ client: one.client }, { client: two.client }])
  check('3.3', 1, 'an answer with a key', PublicKeyOf, [
    { client: one.client, publicKey: one.publicKey },
    { client: two.client, publicKey: two.publicKey },
  ])
  check('3.4', 0, 'a message sent', Addressed, [
    { recipient: one.client, type: 'key', contentBytes: 1 },
    { recipient: two.client, type: 'text', contentBytes: 2 },
  ])
  check('3.4', 1, 'a receipt', Receipt, [
    { recipient: one.client, message: 1 },
    { recipient: two.client, message: 2 },
  ])
  check('3.5', 0, 'a message delivered', Delivered, [
    { sender: one.client, message: 1, type: 'key', contentBytes: 1 },
    { sender: two.client, message: 2, type: 'text', contentBytes: 2 },
  ])
  check('4', 0, 'an answer header', ResponseHeader, [
    { version: 1, code: 1, payloadBytes: 1 },
    { version: 2, code: 2, payloadBytes: 2 },
  ])

  test('nothing else', () => {
    const counts = Object.groupBy(
      tables.filter(({ columns }) => columns[0] === 'field'),
      ({ section }) => section,
    )
    const written = Object.entries(counts).map(([section, all]) => `${section}: ${all?.length}`)
    assert.deepEqual(written.sort(), ['2: 1', '3.1: 2', '3.2: 1', '3.3: 2', '3.4: 2', '3.5: 1', '4: 1'])
  })
})

function check<T extends object>(section: string, which: number, what: string, codec: Codec<T>, values: [T, T]): void {
  test(`${what} (§${section}) have the names, the order and the sizes that are declared`, () => {
    const rows = tablesIn(section, 'field')[which]?.rows ?? []
    const starts = Object.keys(values[0]).map((field) => ({ field, at: startOf(codec, values, field as keyof T) }))
    const declared = starts.map(({ field, at }, i) => [field, (starts[i + 1]?.at ?? codec.max) - at])
    assert.deepEqual(
      rows.map((row) => [row('field'), integer(row('bytes'))]),
      declared,
    )
  })
}

/** The first byte that changes when only `field` does. */
function startOf<T>(codec: Codec<T>, [value, other]: [T, T], field: keyof T): number {
  const changed = encode(codec, { ...value, [field]: other[field] })
  return encode(codec, value).findIndex((byte, i) => byte !== changed[i])
}

describe('docs/protocol-v2.md: example', () => {
  const alice = decode(ClientId, Uint8Array.from(Buffer.from('51f9b1243c3f0d10a5ee8e6286481cff', 'hex')))
  const bob = decode(ClientId, Uint8Array.from(Buffer.from('e68f4c7660dd6d3777522030061bbe8a', 'hex')))
  const content = Uint8Array.from(Buffer.from('b2acbf6cd114ceeeab4107d57972441a', 'hex'))
  const addressed = { recipient: bob, type: 'text', contentBytes: 16 } as const
  const expected: Record<string, Uint8Array> = {
    1: encodeRequest({ kind: 'key', asker: bob, target: bob }),
    2: joined(encodeRequest({ kind: 'send', asker: alice, addressed }), content),
    3: joined(answerHeader('send', Receipt.max), encode(Receipt, { recipient: bob, message: 3 })),
    4: encodeRequest({ kind: 'fetch', asker: bob }),
    5: joined(
      answerHeader('fetch', Delivered.max),
      encode(Delivered, { sender: alice, message: 1, type: 'key-request', contentBytes: 0 }),
    ),
    6: refusal,
  }
  const examples = [...document.matchAll(/\*\*Example (\d+)\.\*\*[^`]*(?:`[^`]+`[^`]*)*?```hex\n(.*?)```/gs)]

  test('numbers are those that are checked', () => {
    assert.deepEqual(
      examples.map((match) => match[1]),
      Object.keys(expected),
    )
    assert.equal(document.split('```hex').length - 1, examples.length)
  })

  for (const [, number = '', dump = ''] of examples)
    test(`${number} has the bytes that are encoded, and explains them`, () => {
      const lines = dump.trimEnd().split('\n')
      const shown = lines.map((line) => /^([\da-f]{2}(?: [\da-f]{2})*) {2,}(.+)$/.exec(line))
      const hex = shown.map((line) => line?.[1]?.replaceAll(' ', '')).join('')
      assert.equal(hex, Buffer.from(expected[number] ?? []).toString('hex'))
      for (const line of shown) explained(line?.[1] ?? '', line?.[2] ?? '')
    })

  /** A number in an explanation is the number that the bytes beside it stand for. */
  function explained(hex: string, words: string): void {
    const said = /\d+/.exec(words)
    if (said === null || hex.split(' ').length > 4) return
    const value = hex.split(' ').reduceRight((sum, byte) => sum * 256 + Number.parseInt(byte, 16), 0)
    assert.equal(Number(said[0]), value, `${hex}: ${words}`)
  }
})

test('the recorded traffic is what the examples were taken from', () => {
  const file = new URL('../../vectors/v2/wire-driver.json', import.meta.url)
  const { exchanges } = JSON.parse(readFileSync(file, 'utf8'))
  const recorded = [4, 10, 7].map((i) => exchanges[i].request.hex)
  const shown = [1, 2, 4].map((number) => dumpOf(number))
  assert.deepEqual(shown, recorded)
  assert.deepEqual([dumpOf(3), dumpOf(5)], [exchanges[10].response.hex, exchanges[7].response.hex])
})

function dumpOf(number: number): string {
  const after = document.slice(document.indexOf(`**Example ${number}.**`))
  const dump = after.slice(after.indexOf('```hex\n') + 7).split('```')[0] ?? ''
  return dump
    .split('\n')
    .map((line) => line.split('  ')[0]?.replaceAll(' ', ''))
    .join('')
}
