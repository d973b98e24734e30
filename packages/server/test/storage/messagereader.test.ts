import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { messageReader } from '../../src/storage/messagereader.ts'
import { messageIdOf, sealedHeadBytes } from '../../src/storage/records.ts'

/** The newest position is none that 32 bits could hold. */
const last = 2 ** 32 + 5
const positions = [1, 2, 3, 7, 9, 10, last]
/** Among them what would end a text, and what is none. */
const contents = ['', '00', 'ff00ff', 'c328', '2c2c', '00'.repeat(300), randomBytes(5000).toString('hex')]

function sealedAt(position: number, content: Buffer): Buffer {
  const head = Buffer.alloc(sealedHeadBytes, 0)
  head.set(randomBytes(16))
  head.writeUInt32LE(messageIdOf(position), 16)
  head.writeUInt32LE(content.length, 21)
  return Buffer.concat([head, content])
}

interface Stored {
  readonly database: DatabaseSync
  /** By position, in hexadecimal. */
  readonly forms: ReadonlyMap<number, string>
}

function stored(): Stored {
  const database = new DatabaseSync(':memory:')
  database.exec('CREATE TABLE messages(position INTEGER PRIMARY KEY, digest INTEGER, sealed BLOB, content INTEGER)')
  database.exec('CREATE TABLE contents(id INTEGER PRIMARY KEY, position, bytes, content_digest)')
  const insert = database.prepare('INSERT INTO messages(position, digest, sealed) VALUES(?, ?, ?)')
  const forms = new Map<number, string>()
  for (const [i, position] of positions.entries()) {
    const sealed = sealedAt(position, Buffer.from(contents[i] as string, 'hex')) // one for each
    insert.run(position, crc32(sealed), sealed)
    forms.set(position, sealed.toString('hex'))
  }
  return { database, forms }
}

function read(database: DatabaseSync, asked: readonly number[]): { forms: string[]; damaged: readonly number[] } {
  const { sealed, lengths, damaged } = messageReader(database)(Float64Array.from(asked))
  assert.equal(sealed.byteOffset, 0, 'it is handed over as a buffer of its own')
  assert.equal(sealed.buffer.byteLength, sealed.length)
  const forms: string[] = []
  let at = 0
  for (const length of lengths) {
    forms.push(Buffer.from(sealed.subarray(at, at + length)).toString('hex'))
    at += length
  }
  assert.equal(at, sealed.length)
  return { forms, damaged }
}

suite('reading messages', () => {
  for (const asked of [positions, positions.slice(0, 3), [2, 9], [7], []])
    test(`messages ${asked} are read as they were stored, whatever their bytes`, () => {
      const { database, forms } = stored()
      assert.deepEqual(read(database, asked), { forms: asked.map((position) => forms.get(position)), damaged: [] })
    })

  for (const [what, damage, damaged] of [
    ['whose digest is another', 'UPDATE messages SET digest = digest + 1 WHERE position = 7', [7]],
    ['whose digest is no number', "UPDATE messages SET digest = digest || ',' WHERE position = 7", [7]],
    ['that lost a byte', 'UPDATE messages SET sealed = substr(sealed, 2) WHERE position = 7', [7]],
    ['that got a byte more', "UPDATE messages SET sealed = CAST(sealed || x'00' AS BLOB) WHERE position = 7", [7]],
    ['that is cut off in its head', 'UPDATE messages SET sealed = substr(sealed, 1, 3) WHERE position = 7', [7]],
    [
      'that is the last and cut off',
      `UPDATE messages SET sealed = substr(sealed, 1, 30) WHERE position = ${last}`,
      [last],
    ],
    ['that is empty', "UPDATE messages SET sealed = x'' WHERE position = 7", [7]],
    ['that is gone', 'DELETE FROM messages WHERE position = 7', [7]],
    [
      'that stands in place of another',
      'DELETE FROM messages WHERE position = 7; UPDATE messages SET position = 7 WHERE position = 9',
      [7, 9],
    ],
    ['of which none is left', 'DELETE FROM messages', positions],
    ['whose content is said to be a file', 'UPDATE messages SET content = 1 WHERE position = 7', [7]],
  ] as const)
    test(`K06 a message ${what} is named among those that are asked for with it, and the others are whole`, () => {
      const { database, forms } = stored()
      database.exec(damage)
      const whole = positions.map((position) => (damaged.some((each) => each === position) ? '' : forms.get(position)))
      assert.deepEqual(read(database, positions), { forms: whole, damaged })
    })

  for (const [what, content, damaged] of [
    ['tells where it is', 5, []],
    ['does not tell that it is a file', null, [7]],
  ] as const)
    test(`K06 a message whose content is a file and whose row ${what}: ${damaged.length} damaged`, () => {
      const { database } = stored()
      const head = sealedAt(7, Buffer.alloc(70_000)).subarray(0, sealedHeadBytes)
      const update = database.prepare('UPDATE messages SET sealed = ?, digest = ?, content = ? WHERE position = 7')
      update.run(head, crc32(head), content)
      database.exec('INSERT INTO contents VALUES(5, 7, 70000, 0)')
      assert.deepEqual(read(database, positions).damaged, damaged)
    })
})
