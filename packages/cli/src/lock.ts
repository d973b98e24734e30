import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { Failure } from './failure.ts'
import { createOwn, openOwn } from './private-files.ts'

const retryMs = 20

/**
 * Holds the lock file until it is disposed of. SQLite's own lock on an empty database is what Node has of the
 * operating system's file locks: it ends with the process, however that ends, so none is ever left behind.
 */
export async function takeLock(
  path: string,
  { waitMs, signal }: { waitMs: number; signal?: AbortSignal },
): Promise<Disposable> {
  await makeLockFile(path)
  const database = new DatabaseSync(path)
  for (const deadline = performance.now() + waitMs; ; ) {
    try {
      database.exec('BEGIN EXCLUSIVE')
      return { [Symbol.dispose]: () => database.close() }
    } catch (error) {
      if (!isLocked(error) || performance.now() >= deadline || signal?.aborted) {
        database.close()
        throw isLocked(error) ? inUse(path, error) : error
      }
      await wait(retryMs)
    }
  }
}

/** SQLite would follow a link and make a file that others can read. */
async function makeLockFile(path: string): Promise<void> {
  const file = (await openOwn(path)) ?? (await createOwn(path).catch(() => openOwn(path)))
  await file?.close()
}

function isLocked(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === 5
}

function inUse(path: string, cause: unknown): Failure {
  return new Failure('in-use', {
    what: 'another messageu is at work in this folder',
    why: `it holds ${path}`,
    advice: 'wait until it has ended, then again',
    cause,
  })
}
