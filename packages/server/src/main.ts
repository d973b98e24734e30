import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ClientId } from '@messageu/protocol/v2'
import type { Config } from './config.ts'
import { type Logger, v2Log } from './log.ts'
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

/** Descriptors that are kept for the database, contents and the log. */
const reservedDescriptors = 512

/**
 * Starts the server: storage first, then the listeners. Rejects with `FolderInUse`, `DamagedStorage`, or the system's
 * error for a port that cannot be had. The one place that names the database, the clocks and the random source.
 */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
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
        connectionsMax: Math.min(v2Limits.connectionsMax, descriptorsMax() - reservedDescriptors),
      },
      log: v2Log(log),
      nowMs: () => performance.now(),
      newClientId: () => randomBytes(16) as Uint8Array as ClientId, // 16 bytes, as asked for
    })
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

/** How many files this process may open; where the system does not say, a number that every system allows. */
function descriptorsMax(): number {
  try {
    const match = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return match === null ? 1024 : Number(match[1])
  } catch {
    return 1024
  }
}
