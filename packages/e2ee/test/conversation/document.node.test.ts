/** Reads docs/protocol.md from the disk. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Codec, nothing } from '@messageu/protocol'
import { documented, integer, namesIn, onlyTable, typed } from '../../../protocol/test/v3/notation.ts'
import { assertSameType } from '../../../protocol/test/v3/same-type.ts'
import { AuthorshipProof } from '../../src/conversation/authored.ts'
import { Authored, Header, Message } from '../../src/conversation/authored-bytes.ts'
import { ContentBytes, Copy, Count, contents } from '../../src/conversation/content.ts'
import { extensionTypes } from '../../src/conversation/extensions.ts'
import {
  CommitNote,
  ConversationRules,
  Departure,
  DepartureStatement,
  GroupId,
  LeafIdentity,
  Lifetime,
  ListRef,
  SendNote,
  Standing,
  Standings,
} from '../../src/conversation/shared.ts'
import { TranscriptStep } from '../../src/conversation/transcript.ts'

const declared: Readonly<Record<string, Codec<unknown>>> = {
  Authored,
  AuthorshipProof,
  CommitNote,
  Content: ContentBytes,
  ConversationRules,
  Count,
  Copy,
  Departure,
  DepartureStatement,
  GroupId,
  Header,
  LeafIdentity,
  Lifetime,
  ListRef,
  Message,
  SendNote,
  Standing,
  TranscriptStep,
}

describe('docs/protocol.md: what is sealed', () => {
  test('has these types, and no others', () => {
    const insideOnly = ['ContactStanding']
    assert.deepEqual(namesIn('6.10', '6.11').toSorted(), [...Object.keys(declared), ...insideOnly].toSorted())
  })

  for (const [name, codec] of Object.entries(declared))
    test(`is declared as it is written down: ${name}`, () => assertSameType(codec, documented(name)))

  test('has the extensions of the source, and in them what the source has', () => {
    const rows = onlyTable('extension', 'where')
    assert.deepEqual(
      rows.map((row) => Number(row('extension'))),
      Object.values(extensionTypes),
    )
    const codecs = [ConversationRules, Standings, Lifetime, nothing]
    for (const [i, codec] of codecs.entries()) assertSameType(codec, typed(rows[i]?.('what is in it') ?? ''))
  })

  test('has every kind of content under its number', () => {
    const written = onlyTable('code', 'content').map((row) => [row('content'), integer(row('code'))])
    assert.deepEqual(
      written,
      Object.entries(contents).map(([kind, { code }]) => [kind, code]),
    )
  })

  for (const row of onlyTable('code', 'content'))
    test(`says what is in ${row('content')}`, () => {
      const found = Object.entries(contents).find(([kind]) => kind === row('content'))?.[1]
      assertSameType(found?.body, typed(row('body')))
    })
})
