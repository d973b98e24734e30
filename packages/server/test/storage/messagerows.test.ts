import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { MessageRows } from '../../src/storage/messagerows.ts'
import type { MessageFields } from '../../src/storage/records.ts'

function messageAt(position: number): MessageFields {
  const sealed = Uint8Array.of(position, 1, 2)
  const content = position % 5 === 0 ? { id: position * 10, bytes: 100, digest: 4 } : undefined
  return { position, at: position + 1000, recipient: 7, digest: position * 3, content, sealed, bytes: 3 }
}

function openRows(): { rows: MessageRows; stored: () => Record<string, unknown>[] } {
  const database = new DatabaseSync(':memory:')
  database.exec('CREATE TABLE messages(position INTEGER PRIMARY KEY, at, digest, sealed, content)')
  const all = database.prepare('SELECT position, at, digest, sealed, content FROM messages ORDER BY position')
  return { rows: new MessageRows(database), stored: () => all.all().map((row) => ({ ...row })) }
}

const expected = ({ position, at, digest, sealed, content }: MessageFields) => {
  return { position, at, digest, sealed, content: content?.id ?? null }
}

suite('rows of messages', () => {
  for (const count of [0, 1, 15, 16, 17, 32, 45])
    test(`all ${count} of a commit are inserted by its end`, () => {
      const { rows, stored } = openRows()
      const messages = Array.from({ length: count }, (_, i) => messageAt(i + 1))
      rows.begin()
      for (const each of messages) rows.add(each)
      rows.end()
      assert.deepEqual(stored(), messages.map(expected))
    })

  test('what a commit that failed had left over is not in the next one', () => {
    const { rows, stored } = openRows()
    rows.begin()
    for (const position of [1, 2, 3]) rows.add(messageAt(position))
    rows.begin()
    rows.add(messageAt(4))
    rows.end()
    assert.deepEqual(stored(), [expected(messageAt(4))])
  })
})
