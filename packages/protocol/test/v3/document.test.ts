import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { decode, encode, struct } from '../../src/codec.ts'
import { reasons } from '../../src/errors.ts'
import { frameHeadBytes, readFrames, writeFrame } from '../../src/v3/frame.ts'
import * as v3 from '../../src/v3/index.ts'
import {
  accountName,
  answers,
  contexts,
  conversationKinds,
  deliveryKinds,
  events,
  gapReasons,
  operations,
  reasonCodes,
  signers,
  skeletonOf,
  verdicts,
} from '../../src/v3/index.ts'
import { limits } from '../../src/v3/limits.ts'
import { joined } from '../fuzz.ts'
import { exportedCodecs, operationNamed } from './decoders.ts'
import { document, documented, documentedNames, integer, namesIn, onlyTable, typed } from './notation.ts'
import { assertSameType } from './same-type.ts'

describe('docs/protocol.md', () => {
  test('has the sections that it and the source refer to', () => {
    const found = new Set([...document.matchAll(/^##+ ([\d.]*\d)/gm)].map((match) => match[1]))
    const source = globSync('src/v3/*.ts', { cwd: new URL('../..', import.meta.url) })
    const texts = source.map((file) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'))
    const cited = [document, ...texts].flatMap((each) =>
      [...each.matchAll(/(?<!RFC \d{4} )§([\d.]*\d)/g)].map((match) => match[1]),
    )
    assert.ok(cited.length > 100)
    assert.deepEqual(
      cited.filter((section) => !found.has(section)),
      [],
    )
  })

  test('numbers its sections without holes', () => {
    const found = [...document.matchAll(/^##+ (\d+)\.(?:(\d+))?/gm)].map(([, chapter, section = '0']) => [
      chapter,
      section,
    ])
    let [chapter, section] = [0, 0]
    for (const [ofChapter, ofSection] of found) {
      section = ofSection === '0' ? 0 : section + 1
      chapter += ofSection === '0' ? 1 : 0
      assert.deepEqual([ofChapter, ofSection], [`${chapter}`, `${section}`])
    }
    assert.equal(chapter, 13)
  })

  test('lists the requests with their codes, who may ask, and where they stand', () => {
    const written = onlyTable('code', 'request').map((row) => [row('request'), integer(row('code')), row('caller')])
    const table = Object.entries(operations).map(([name, { code, caller }]) => [name, code, caller])
    assert.deepEqual(written, table)
    for (const row of onlyTable('code', 'request'))
      assert.ok(sectionOf(row('section')).includes(`\`${row('request')}\``), `${row('request')} in its section`)
  })

  test('lists the events and the answers with their codes', () => {
    const written = onlyTable('code', 'event').map((row) => [row('event'), integer(row('code'))])
    assert.deepEqual(
      written,
      Object.entries(events).map(([name, { code }]) => [name, code]),
    )
    const answered = onlyTable('code', 'answer').map((row) => [row('answer'), integer(row('code'))])
    assert.deepEqual(answered, Object.entries(answers))
  })

  test('lists the reasons with their numbers and what to do about them', () => {
    const written = onlyTable('value', 'name', 'retry').map((row) => [row('name'), integer(row('value')), row('retry')])
    const names = Object.keys(reasonCodes) as v3.V3Reason[] // its own keys
    assert.deepEqual(
      written,
      names.map((name) => [name, reasonCodes[name], reasons[name].retry]),
    )
  })

  test('lists the limits', () => {
    const written = onlyTable('limit', 'value').map((row) => [row('limit'), integer(row('value'))])
    assert.deepEqual(written, Object.entries(limits))
  })

  test('uses every limit in the section that the table names', () => {
    const unnamed = ['minorMin', 'minorMax', 'nameBytesMax', 'inviteMs']
    for (const row of onlyTable('limit', 'value')) {
      const isNamed = sectionOf(row('section')).includes(row('limit'))
      assert.ok(isNamed || unnamed.includes(row('limit')), `${row('limit')} in §${row('section')}`)
    }
  })

  test('lists the contexts', () => {
    const written = onlyTable('context', 'name').map((row) => [row('context'), row('name')])
    assert.deepEqual(written, Object.entries(contexts))
  })

  test('lists the twins of names, each of which a name can have', () => {
    const rows = onlyTable('twin', 'of')
    assert.ok(rows.length > 30)
    for (const row of rows)
      for (const other of row('of').split(' '))
        assert.equal(skeletonOf(accountName(other.repeat(2))), skeletonOf(accountName(row('twin').repeat(2))), other)
  })

  test('lists the twins that the source has', () => {
    const source = readFileSync(new URL('../../src/v3/name.ts', import.meta.url), 'utf8')
    const table = [...source.matchAll(/^ {4}\['(.)', '([^']+)'\],$/gmu)].map(([, plain, others = '']) => [
      plain,
      others,
    ])
    assert.deepEqual(
      onlyTable('twin', 'of').map((row) => [row('twin'), row('of').replaceAll(' ', '')]),
      table,
    )
  })
})

/** What the server parses: the rest is compared with `e2ee` and `client`. */
const sealed = namesIn('6.10', '6.11', '4.8')
const outside = documentedNames.filter((name) => !sealed.includes(name))

function sectionOf(number: string): string {
  const heads = (part: string): boolean => part.startsWith(`## ${number}. `) || part.startsWith(`### ${number} `)
  return document.split(/^(?=##+ [\d.])/m).find(heads) ?? assert.fail(`there is no §${number}`)
}

describe('docs/protocol.md: numbers that have a name', () => {
  const enumerations = {
    ConversationKind: conversationKinds,
    DeliveryKind: deliveryKinds,
    GapReason: gapReasons,
    Verdict: verdicts,
    Signer: signers,
    ReasonCode: reasonCodes,
  }
  for (const [name, table] of Object.entries(enumerations))
    test(`${name} are those of the source`, () => assert.deepEqual(documented(name).numbers, table))

  test('there are no others', () => {
    const found = outside.filter((name) => documented(name).shape === 'numbers')
    assert.deepEqual(found.toSorted(), Object.keys(enumerations).toSorted())
  })
})

/** Types that only stand inside others. */
const insideOnly = [
  'DeliveryKind',
  'EntryBytes',
  'FrameHead',
  'GapReason',
  'Handshake',
  'Name',
  'ReasonCode',
  'Signer',
  'Verdict',
]

test('docs/protocol.md defines every type that the source exports, and no other', () => {
  assert.equal(new Set(documentedNames).size, documentedNames.length, 'each type once')
  assert.deepEqual(outside.toSorted(), [...exportedCodecs.keys(), ...insideOnly].toSorted())
})

describe('docs/protocol.md: a type written down is the type of the source:', () => {
  for (const [name, codec] of exportedCodecs) test(name, () => assertSameType(codec, documented(name)))

  for (const row of onlyTable('code', 'request')) {
    const operation = operations[operationNamed(row('request'))]
    test(`what ${row('request')} asks`, () => assertSameType(operation.request, typed(row('body'))))
    test(`what ${row('request')} answers`, () => assertSameType(operation.response, typed(row('answer'))))
  }
  for (const row of onlyTable('code', 'event')) {
    const event = Object.entries(events).find(([name]) => name === row('event'))?.[1]
    test(`what ${row('event')} tells`, () => assertSameType(event?.body, typed(row('body'))))
  }
  test('what a refusal tells', () => {
    const refused = onlyTable('code', 'answer').find((row) => row('answer') === 'refused')
    assertSameType(v3.Refusal, typed(refused?.('body') ?? ''))
  })
})

test('docs/protocol.md has the head of a frame (§2.1)', () => {
  const head = documented('FrameHead').codec
  assert.equal(head.max, frameHeadBytes)
  const frame = writeFrame({ code: 0xc0, request: 0x01020304, body: Uint8Array.of(1, 2, 3) })
  assert.deepEqual(decode(struct({ head }), frame.subarray(0, frameHeadBytes)), {
    head: { length: 12, code: 0xc0, request: 0x01020304 },
  })
})

describe('docs/protocol.md: example', () => {
  const { credit, acknowledge } = operations
  const grant = (messages: number, bytes: number) => encode(credit.request, { messages, bytes })
  const refusal = encode(v3.Refusal, {
    reason: 'stale-epoch',
    retryAfterMs: 0,
    explanation: 'epoch',
    current: { kind: 'epoch', body: { generation: 1, epoch: 5, sequence: 40 } },
  })
  const expected: Record<string, Uint8Array> = {
    1: writeFrame({ code: credit.code, request: 7, body: grant(512, 8 * 2 ** 20) }),
    2: writeFrame({ code: answers.done, request: 7, body: encode(credit.response, undefined) }),
    3: writeFrame({ code: answers.refused, request: 9, body: refusal }),
    4: joined(
      writeFrame({ code: acknowledge.code, request: 8, body: encode(acknowledge.request, { through: 4660 }) }),
      writeFrame({ code: credit.code, request: 9, body: grant(1, 0) }),
    ),
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
      const shown = dump
        .trimEnd()
        .split('\n')
        .map((line) => /^([\da-f]{2}(?: [\da-f]{2})*) {2,}(.+)$/.exec(line))
      const hex = shown.map((line) => line?.[1]?.replaceAll(' ', '')).join('')
      assert.equal(hex, Buffer.from(expected[number] ?? []).toString('hex'))
      assert.ok(readFrames(expected[number] ?? new Uint8Array()).length > 0)
      for (const line of shown) assertExplains(line?.[2] ?? '', line?.[1] ?? '')
    })

  /** A number in an explanation is the number that the bytes beside it stand for. */
  function assertExplains(words: string, hex: string): void {
    const said = /\d+/.exec(words)
    if (said === null) return
    const value = hex.split(' ').reduceRight((sum, byte) => sum * 256 + Number.parseInt(byte, 16), 0)
    assert.equal(Number(said[0]), value, `${hex}: ${words}`)
  }
})
