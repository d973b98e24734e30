import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type ClientId, limits as v2Protocol } from '@messageu/protocol/v2'
import { restoringFile } from './admin/backup.ts'
import type { Config } from './config.ts'
import { type Logger, v2Log } from './log.ts'
import { DamagedStorage } from './storage/damage.ts'
import { openSqlite } from './storage/sqlite.ts'
import { v2Limits } from './v2/limits.ts'
import { listenV2 } from './v2/listener.ts'

export interface RunningServer {
  readonly v2: { readonly host: string; readonly port: number }
  /** Rejects when the server cannot go on and has to end. */
  readonly failed: Promise<never>
  /** Takes nothing new, finishes what is under way, at most for `graceMs`, and closes everything. */
  stop(graceMs: number): Promise<void>
  /** Lets a stop wait no longer for what is under way. */
  hurry(): void
}

/** Descriptors that are kept for the database, contents and the log; where there are few, half of them. */
const reservedDescriptors = 512

/**
 * Starts the server: storage first, then the listeners. Rejects with `FolderInUse`, `DamagedStorage`, or the system's
 * error for a port that cannot be had. The one place that names the database, the clocks and the random source.
 */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  if (existsSync(restoringFile(config.data)))
    throw new DamagedStorage('server.db', 'a restore into this folder did not come to its end')
  const storage = await openSqlite({
    folder: config.data,
    nowMs: Date.now,
    limits: { mailboxBytesMax: config['v2.mailbox-quota'], clientsMax: config['v2.clients'] },
    diskReserveShare: config['disk-reserve'],
  })
  log.info({ event: 'storage-open', orphansRemoved: storage.orphansRemoved, ...storage.figures() }, 'storage is open')
  try {
    const v2 = await listenV2({
      storage,
      host: config['v2.host'],
      port: config['v2.port'],
      privateIds: config['v2.private-ids'],
      limits: {
        connectionsPerAddressMax: config['v2.connections-per-address'],
        connectionsMax: Math.min(v2Limits.connectionsMax, forConnections(descriptorsMax())),
      },
      log: v2Log(log),
      nowMs: () => performance.now(),
      newClientId: randomIds(),
    })
    // whether the last batch is on disk is not known then: who waits for it is told nothing, rather than a refusal
    storage.failed.catch(() => v2.endAll())
    return {
      v2: v2.address,
      failed: storage.failed,
      async stop(graceMs) {
        await v2.stop(graceMs)
        await storage[Symbol.asyncDispose]()
      },
      hurry: () => v2.endAll(),
    }
  } catch (error) {
    await storage[Symbol.asyncDispose]()
    throw error
  }
}

const idsAtOnce = 256

/** Random ids, made many at once: each call for random bytes costs as much as the rest of a registration. */
export function randomIds(): () => ClientId {
  let pool = Buffer.alloc(0)
  return () => {
    if (pool.length === 0) pool = randomBytes(v2Protocol.idBytes * idsAtOnce)
    const id = Uint8Array.from(pool.subarray(0, v2Protocol.idBytes))
    pool = pool.subarray(v2Protocol.idBytes)
    return id as ClientId // as many bytes as an id has
  }
}

function forConnections(descriptors: number): number {
  return descriptors - Math.min(reservedDescriptors, Math.floor(descriptors / 2))
}

/** How many files this process may open; where the system does not say, a number that every system allows. */
function descriptorsMax(): number {
  try {
    const match = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return match === null ? 1024 : Number(match[1])
  } catch {
    return 1024
  }
}
