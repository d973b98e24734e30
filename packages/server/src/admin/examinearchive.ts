import type { DatabaseSync } from 'node:sqlite'
import { objectKinds } from '../archive.ts'
import { type AcceptedRow, recordsOf } from '../storage/accepted.ts'
import { DamagedStorage } from '../storage/damage.ts'
import { replayDeeds } from '../storage/deeds.ts'
import { mustMatch } from '../storage/rows.ts'
import type { Finding } from './doctor.ts'

const kindsByNumber = new Map<number, string>(Object.entries(objectKinds).map(([kind, number]) => [number, kind]))

interface ObjectRow {
  readonly kind: number
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly digest: number
}

interface AcknowledgedRow {
  readonly device: number
  readonly through: number
  readonly digest: number
}

interface DeedsRow {
  readonly number: number
  readonly deeds: Uint8Array
  readonly deeds_digest: number
}

/** Looks at every row that version 3 adds; its messages are looked at with all others. */
export function* examineArchive(database: DatabaseSync): Generator<Finding> {
  yield* examineRows<ObjectRow>(database, 'SELECT kind, key, value, digest FROM objects', (row) => {
    const name = kindsByNumber.get(row.kind)
    if (name === undefined) throw new DamagedStorage('server.db', `an object of the unknown kind ${row.kind}`)
    mustMatch(`${name} ${Buffer.from(row.key).toString('hex')}`, row.digest, row.kind, row.key, row.value)
  })
  yield* examineRows<AcceptedRow>(database, 'SELECT device, last, first, digest, records FROM accepted', (row) => {
    const numbers = recordsOf(row).map(({ number }) => number)
    const areSorted = numbers.every((number, i) => i === 0 || number > (numbers[i - 1] as number))
    if (numbers[0] !== row.first || numbers.at(-1) !== row.last || !areSorted)
      throw new DamagedStorage('server.db', `accepted sends ${row.device}/${row.last} are not in their order`)
  })
  yield* examineRows<AcknowledgedRow>(database, 'SELECT device, through, digest FROM acknowledged', (row) =>
    mustMatch(`what device ${row.device} acknowledged`, row.digest, row.device, row.through),
  )
  const deeds = 'SELECT number, deeds, deeds_digest FROM journal WHERE deeds IS NOT NULL'
  yield* examineRows<DeedsRow>(database, deeds, (row) => {
    mustMatch(`deeds in journal row ${row.number}`, row.deeds_digest, row.number, row.deeds)
    replayDeeds(row.deeds, { sent() {}, acknowledged() {} })
  })
}

/** `examine` throws `DamagedStorage` for a row that is not what was stored; the others are looked at as well. */
function* examineRows<Row>(database: DatabaseSync, query: string, examine: (row: Row) => void): Generator<Finding> {
  for (const row of database.prepare(query).iterate())
    try {
      examine(row as Row) // as the query names its columns
    } catch (error) {
      if (!(error instanceof DamagedStorage)) throw error
      yield { kind: 'damage', object: error.object, what: error.what }
    }
}
