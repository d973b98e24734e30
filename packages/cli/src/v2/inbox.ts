import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { takeLock } from '../lock.ts'
import { makeOwnFolder, openOwn, readOwn, removeIfThere, replaceFile } from '../private-files.ts'
import type { OnProgress } from '../progress.ts'
import { Fetch, finishSpool } from './fetch.ts'
import { isWhole, markSuffix } from './spool.ts'

const unfinished = '.part'
const finished = '.spool'

/** Our name for a file that is being decrypted, in whatever folder received files go to. */
const partFile = /^\.messageu-[0-9a-f]{32}\.part$/

const notedPathBytesMax = 65_536

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
    await this.#removePartFile()
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

  /** Lends a name for a file in `folder` that is being decrypted. A crash leaves it there until the next start. */
  async withPartFile<T>(folder: string, use: (path: string) => Promise<T>): Promise<T> {
    const path = join(folder, `.messageu-${randomBytes(16).toString('hex')}.part`)
    await replaceFile(this.#note, Buffer.from(JSON.stringify(path)))
    try {
      return await use(path)
    } finally {
      await this.#removePartFile()
    }
  }

  async #removePartFile(): Promise<void> {
    const note = await readOwn(this.#note, { max: notedPathBytesMax })
    if (note === undefined) return
    const path: unknown = JSON.parse(Buffer.from(note.bytes).toString('utf8'))
    if (typeof path === 'string' && partFile.test(basename(path))) await removeIfThere(path)
    await removeIfThere(this.#note)
  }

  get #note(): string {
    return join(this.#folder, 'part-file')
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
