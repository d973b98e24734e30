import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type ClientId, limits as v2Protocol } from '@messageu/protocol/v2'
import { restoringFile } from './admin/backup.ts'
import type { Config } from './config.ts'
import type { Logger } from './log.ts'
import { v2Log } from './loglines.ts'
import { DamagedStorage } from './storage/damage.ts'
import { openSqlite } from './storage/sqlite.ts'
import { v2Limits } from './v2/limits.ts'
import { listenV2 } from './v2/listener.ts'
import { v3Limits } from './v3/limits.ts'
import { startV3 } from './v3/start.ts'

interface Address {
  readonly host: string
  readonly port: number
}

export interface RunningServer {
  readonly http: Address
  readonly v2: Address
  /** Where the server is and who it is. */
  readonly link: string
  /** The same with an invite for its first administrator, as long as there is nobody. */
  readonly adminInvite: string | undefined
  readonly metrics: Address | undefined
  /** Rejects when the server cannot go on and has to end. */
  readonly failed: Promise<never>
  /** Reads the certificate files again; keeps what it has if they cannot be used. */
  reload(): Promise<void>
  /** Takes nothing new, finishes what is under way, at most for `graceMs`, and closes everything. */
  stop(graceMs: number): Promise<void>
  /** Lets a stop wait no longer for what is under way. */
  hurry(): void
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

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
    const descriptors = forConnections(descriptorsMax())
    const v2ConnectionsMax = Math.min(v2Limits.connectionsMax, Math.floor(descriptors / 4)) // the others are for version 3
    await using started = new AsyncDisposableStack()
    const v2 = started.use(
      await listenV2({
        storage,
        host: config['v2.host'],
        port: config['v2.port'],
        privateIds: config['v2.private-ids'],
        limits: {
          connectionsPerAddressMax: config['v2.connections-per-address'],
          connectionsMax: v2ConnectionsMax,
        },
        log: v2Log(log),
        nowMs: () => performance.now(),
        newClientId: randomIds(),
      }),
    )
    const v3 = await startV3({
      config,
      storage,
      log,
      clock: { nowMs: Date.now, monotonicMs: () => Math.floor(performance.now()) }, // whole, as times are stored
      schedule,
      random: (count) => new Uint8Array(randomBytes(count)),
      connectionsMax: Math.min(v3Limits.connectionsMax, descriptors - v2ConnectionsMax),
      version,
    })
    started.move()
    const endAll = (): void => {
      v2.endAll()
      v3.endAll()
    }
    // whether the last batch is on disk is not known then: who waits for it is told nothing, rather than a refusal
    storage.failed.catch(endAll)
    return {
      http: v3.address,
      v2: v2.address,
      link: v3.link,
      adminInvite: v3.adminInvite,
      metrics: v3.metrics,
      failed: storage.failed,
      reload: () => v3.reload(),
      async stop(graceMs) {
        await Promise.all([v2.stop(graceMs), v3.stop(graceMs)])
        await storage[Symbol.asyncDispose]()
      },
      hurry: endAll,
    }
  } catch (error) {
    await storage[Symbol.asyncDispose]()
    throw error
  }
}

/** Nothing that waits here keeps the process alive. */
function schedule(afterMs: number, run: () => void): () => void {
  const timer = setTimeout(run, afterMs).unref()
  return () => clearTimeout(timer)
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
