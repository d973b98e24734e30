/** The whole server, as `messageu serve` starts it, in a process of its own, with a back door for filling it. */
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { decode } from '@messageu/protocol'
import { type AccountId, type AccountName, ConversationId, Hash, PublicKey, parseLink } from '@messageu/protocol/v3'
import type { ObjectChange, ObjectKind } from '../packages/server/src/archive.ts'
import { readConfig } from '../packages/server/src/config.ts'
import { openLog } from '../packages/server/src/log.ts'
import { startServer } from '../packages/server/src/main.ts'
import { databaseFile } from '../packages/server/src/storage/folder.ts'
import { openSqlite } from '../packages/server/src/storage/sqlite.ts'
import { encodeAccount } from '../packages/server/src/v3/accountrecords.ts'
import { serveTasks } from './children.ts'
import { loopDelayMeter } from './measure.ts'

let folder = ''
const accountsPerStep = 500

let pool = Buffer.alloc(0)
/** Random bytes from a pool: a call for each key takes longer than to store it. */
function random(count: number): Buffer {
  if (pool.length < count) pool = randomBytes(2 ** 16)
  const taken = pool.subarray(0, count)
  pool = pool.subarray(count)
  return taken
}

export const tasks = {
  async open({ folder: data, flags }: { folder: string; flags: Readonly<Record<string, string>> }) {
    folder = data
    const config = readConfig({
      flags: { data, port: '0', 'v2.port': '0', 'disk-reserve': '0%', 'requests-per-second': '1000000', ...flags },
      environment: {},
      file: undefined,
      workingFolder: data,
    })
    const server = await startServer(config, openLog('warn'))
    const { port, serverKey } = parseLink(server.link)
    return { port, serverKey: Buffer.from(serverKey).toString('base64'), isTls: 'tls-cert' in flags }
  },

  /** Writes what so many accounts would leave in the tables, before the server is opened. Nobody can use them. */
  async fillAccounts({ folder: data, count }: { folder: string; count: number }): Promise<void> {
    await using storage = await openSqlite({ folder: data, nowMs: Date.now, diskReserveShare: 0 })
    let before: Promise<unknown> = Promise.resolve()
    for (let first = 0; first < count; first += accountsPerStep) {
      const batch = Array.from({ length: Math.min(accountsPerStep, count - first) }, (_, i) =>
        accountOf(first + i, count),
      )
      await before // the next ones are made while these are stored
      before = storage.archive.step({ objects: batch.flat() })
    }
    await before
  },

  loopDelay: loopDelayMeter(),

  rows(): number {
    const database = new DatabaseSync(databaseFile(folder), { readOnly: true })
    const { rows } = database.prepare('SELECT count(*) AS rows FROM messages').get() as { rows: number }
    database.close()
    return rows
  },

  memory(): number {
    globalThis.gc?.()
    return process.memoryUsage.rss()
  },
}

/**
 * Objects of the kinds and sizes that an account with one device consists of. Keys grow with the index: a million that
 * come in any order touch a page each, and make a hundred gigabytes of writes.
 */
function accountOf(index: number, count: number): ObjectChange[] {
  const account = spread(random(32), index / count)
  const device = spread(random(16), index / count)
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(10_000_000 + index))
  const name = Buffer.from(`filled${String(index).padStart(7, '0')}`)
  const object = (kind: ObjectKind, key: Uint8Array, value: Uint8Array): ObjectChange => ({ kind, key, value })
  return [
    object('account', account, accountRecord(account as Uint8Array as AccountId, 10_000_000 + index, name.toString())), // an id
    object('accountNumber', number, account),
    object('listEntry', Buffer.concat([account, Buffer.from([0, 0, 0, 1])]), random(450)),
    object('name', name, account),
    object('nameOrder', name, account),
    object('device', device, random(41)),
    object('deviceNumber', number, device),
  ]
}

/** A key that begins where such a share of all random ones lies below it. */
function spread(key: Buffer, share: number): Buffer {
  key.writeUInt32BE(Math.floor(share * 2 ** 32))
  return key
}

/** An account as it is kept; its keys are nobody's, and it has no device. */
function accountRecord(id: AccountId, number: number, name: string): Uint8Array {
  const key = (): PublicKey => decode(PublicKey, random(32))
  const list = {
    account: id,
    name: name as AccountName, // it has the form of one
    serverKey: key(),
    accountKey: key(),
    managerKey: key(),
    version: 1,
    hash: decode(Hash, random(32)),
    devices: [],
    formerDevices: [],
    managerEntries: 0,
    isClosed: false,
  }
  return encodeAccount({
    number,
    id,
    name: list.name,
    list,
    devices: [],
    isAdmin: false,
    isDisabled: false,
    quotaBytes: 2 ** 30,
    createdAt: 0,
    ownDevices: decode(ConversationId, random(32)),
  })
}

serveTasks(tasks)
