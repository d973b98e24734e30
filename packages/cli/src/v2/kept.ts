import { randomBytes } from 'node:crypto'
import { readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decode } from '@messageu/protocol'
import { type ClientId, Delivered } from '@messageu/protocol/v2'
import { createOwn, makeOwnFolder, openOwn, removeIfThere, syncFolder } from '../private-files.ts'
import { idText } from './identity.ts'
import { limits } from './limits.ts'
import { readExactly, type Sealed, sealedBytesOf } from './sealed.ts'

/** Number of arrival, sender, identity. */
const nameForm = /^(?<number>\d{10})-(?<sender>[0-9a-f]{32})-(?<identity>[\w-]{43})$/

interface Entry {
  readonly name: string
  readonly number: number
  readonly sender: string
  readonly identity: string
  readonly bytes: number
}

/** Messages that no key of ours opens: they wait here for one that does. */
export class Kept {
  readonly #folder: string
  #entries: readonly Entry[]

  private constructor(folder: string, entries: readonly Entry[]) {
    this.#folder = folder
    this.#entries = entries
  }

  static async open(dir: string): Promise<Kept> {
    const folder = join(dir, 'kept')
    await makeOwnFolder(folder)
    const entries: Entry[] = []
    for (const name of (await readdir(folder)).sort()) {
      const groups = nameForm.exec(name)?.groups
      if (groups !== undefined) entries.push(entryOf(name, groups, (await stat(join(folder, name))).size))
      else if (name.endsWith('.tmp')) await removeIfThere(join(folder, name))
    }
    return new Kept(folder, entries)
  }

  /** Whether there was room. Whoever floods us fills a bounded part of it, and of nothing else. */
  async add(sealed: Sealed, identity: string): Promise<boolean> {
    const sender = idText(sealed.header.sender)
    const entries = this.#entries
    if (entries.some((entry) => entry.identity === identity)) return true
    const bytes = Delivered.max + sealed.header.contentBytes
    const held = entries.reduce((sum, entry) => sum + entry.bytes, 0)
    const ofSender = entries.filter((entry) => entry.sender === sender).length
    if (entries.length >= limits.keptMessagesMax || ofSender >= limits.keptMessagesPerSenderMax) return false
    if (held + bytes > limits.keptBytesMax) return false

    const number = (entries.at(-1)?.number ?? 0) + 1
    const name = `${String(number).padStart(10, '0')}-${sender}-${identity}`
    await this.#write(name, sealed)
    this.#entries = [...entries, { name, number, sender, identity, bytes }]
    return true
  }

  async #write(name: string, sealed: Sealed): Promise<void> {
    const draft = join(this.#folder, `${randomBytes(16).toString('hex')}.tmp`)
    await using file = await createOwn(draft)
    try {
      for await (const piece of sealedBytesOf(sealed)) await file.writeFile(piece)
      await file.sync()
      await rename(draft, join(this.#folder, name))
      await syncFolder(this.#folder)
    } catch (error) {
      await removeIfThere(draft)
      throw error
    }
  }

  /** What waits from this sender, in the order of arrival. Each is open until the next one is asked for. */
  async *from(sender: ClientId): AsyncGenerator<{ sealed: Sealed; identity: string; remove(): Promise<void> }> {
    for (const entry of this.#entries.filter((each) => each.sender === idText(sender))) {
      const path = join(this.#folder, entry.name)
      await using file = await openOwn(path)
      if (file === undefined) continue
      const header = decode(Delivered, await readExactly(file, 0, Delivered.max))
      const remove = async (): Promise<void> => {
        await removeIfThere(path)
        this.#entries = this.#entries.filter((each) => each !== entry)
      }
      yield { sealed: { header, file, at: 0 }, identity: entry.identity, remove }
    }
  }
}

function entryOf(name: string, groups: Record<string, string>, bytes: number): Entry {
  return { name, number: Number(groups.number), sender: `${groups.sender}`, identity: `${groups.identity}`, bytes }
}
