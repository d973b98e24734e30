import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { takeLock } from '../lock.ts'
import { appendOwn, makeOwnFolder, openOwn, readOwn, removeIfThere } from '../private-files.ts'
import type { OnProgress } from '../progress.ts'
import { Fetch, finishSpool } from './fetch.ts'
import { limits } from './limits.ts'
import { isWhole, markSuffix } from './spool.ts'

const unfinished = '.part'
const finished = '.spool'

/** Our name for a file that is being decrypted, in whatever folder received files go to. */
const partFile = /^\.messageu-[0-9a-f]{32}\.part$/

/**
 * Where fetched messages lie until they are shown. Version 2 has no acknowledgement: the server forgets what it handed
 * out when we close the connection, so by then it has to be on our disk.
 */
export class Inbox implements Disposable {
  readonly #folder: string
  readonly #lock: Disposable

  private constructor(folder: string, lock: Disposable) {
    this.#folder = folder
    this.#lock = lock
  }

  /** One reader at a time. What an interrupted one left behind is put in order first. */
  static async open(dir: string): Promise<Inbox> {
    const folder = join(dir, 'inbox')
    await makeOwnFolder(folder)
    const inbox = new Inbox(folder, await takeLock(join(folder, 'lock'), { waitMs: 0 }))
    try {
      await inbox.#putInOrder()
      return inbox
    } catch (error) {
      inbox[Symbol.dispose]()
      throw error
    }
  }

  async #putInOrder(): Promise<void> {
    const names = await readdir(this.#folder)
    const ending = (suffix: string): string[] => names.filter((name) => name.endsWith(suffix))
    for (const name of ending(unfinished)) await settle(join(this.#folder, name))
    for (const mark of ending(markSuffix))
      if (!names.includes(mark.slice(0, -markSuffix.length))) await removeIfThere(join(this.#folder, mark))
    await this.#removePartFiles()
  }

  /** What earlier runs fetched and did not show to the end. */
  async leftovers(): Promise<string[]> {
    const names = await readdir(this.#folder)
    return names.filter((name) => name.endsWith(finished)).map((name) => join(this.#folder, name))
  }

  /** Takes in the answer to one fetch. */
  startFetch(onProgress?: OnProgress): Promise<Fetch> {
    const path = join(this.#folder, randomBytes(16).toString('hex'))
    return Fetch.start(`${path}${unfinished}`, `${path}${finished}`, onProgress)
  }

  /** A name for a file in `folder` that is being decrypted: removed at the next start if a crash leaves it there. */
  async newPartFile(folder: string): Promise<string> {
    const path = join(folder, `.messageu-${randomBytes(16).toString('hex')}.part`)
    await using ledger = await appendOwn(this.#ledger)
    await ledger.write(`${JSON.stringify(path)}\n`)
    await ledger.sync()
    return path
  }

  async #removePartFiles(): Promise<void> {
    const ledger = await readOwn(this.#ledger, { max: limits.stateBytesMax })
    if (ledger === undefined) return
    for (const line of Buffer.from(ledger.bytes).toString('utf8').split('\n')) {
      const path = quotedPath(line)
      if (path !== undefined && partFile.test(basename(path))) await removeIfThere(path)
    }
    await removeIfThere(this.#ledger)
  }

  get #ledger(): string {
    return join(this.#folder, 'part-files')
  }

  [Symbol.dispose](): void {
    this.#lock[Symbol.dispose]()
  }
}

/**
 * A fetch that died with its process. The server may have taken the end of the connection for our thanks: if we had
 * received everything, this is the only copy.
 */
async function settle(path: string): Promise<void> {
  await using file = await openOwn(path)
  if (file !== undefined && (await isWhole(file)))
    await finishSpool(file, path, `${path.slice(0, -unfinished.length)}${finished}`)
  else await removeIfThere(path)
}

/** The last line may be cut short. */
function quotedPath(line: string): string | undefined {
  try {
    const path: unknown = JSON.parse(line)
    return typeof path === 'string' ? path : undefined
  } catch {
    return undefined
  }
}
