import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { MessageFields } from './records.ts'

/** Rows that one statement inserts: the way into SQLite costs about as much as a small row. */
const rowsPerInsert = 16
const columns = 5

/** Inserts messages, many at a time. Their bytes must stay as they are until `end`. */
export class MessageRows {
  readonly #one
  readonly #many
  readonly #values: SQLInputValue[] = []

  constructor(database: DatabaseSync) {
    const insert = 'INSERT INTO messages(position, at, digest, sealed, content) VALUES'
    const row = '(?, ?, ?, ?, ?)'
    this.#one = database.prepare(`${insert} ${row}`)
    this.#many = database.prepare(`${insert} ${Array(rowsPerInsert).fill(row).join(', ')}`)
  }

  /** Forgets what a failure left over. */
  begin(): void {
    this.#values.length = 0
  }

  add({ position, at, digest, sealed, content }: MessageFields): void {
    this.#values.push(position, at, digest, sealed, content?.id ?? null)
    if (this.#values.length < rowsPerInsert * columns) return
    this.#many.run(...this.#values)
    this.#values.length = 0
  }

  end(): void {
    for (let from = 0; from < this.#values.length; from += columns)
      this.#one.run(...this.#values.slice(from, from + columns))
    this.#values.length = 0
  }
}
