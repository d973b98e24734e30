import { type ClientId, type Delivered, type MessageType, nameToText, limits as wire } from '@messageu/protocol/v2'
import { asFailure, interrupted } from '../failure.ts'
import { makeFolder } from '../private-files.ts'
import type { OnProgress } from '../progress.ts'
import { type AesKey, blockBytes, openPieces, openText, paddingFits, sameKey, unwrapKey } from './crypto.ts'
import { type Identity, idText } from './identity.ts'
import { Inbox } from './inbox.ts'
import { Kept } from './kept.ts'
import { limits } from './limits.ts'
import { people } from './people.ts'
import { type Received, saveReceived } from './received-file.ts'
import { type Client, exchangeWith, whoAmI } from './requests.ts'
import { safeName } from './safe-name.ts'
import { contentPieces, identityOf, readContent, readTail, type Sealed } from './sealed.ts'
import { Spool } from './spool.ts'
import { loadState, type Person, personIn, type State, updateState, withKey, withShown } from './state.ts'

export type Content =
  | { readonly kind: 'key-request' }
  /** `changed`: another key was in use, and from now on this one is. */
  | { readonly kind: 'key'; readonly change: 'first' | 'same' | 'changed' }
  | { readonly kind: 'text'; readonly text: string }
  /** `text`: it came as a text, and is too long to be shown. */
  | { readonly kind: 'file'; readonly path: string; readonly bytes: number; readonly text: boolean }

/** One message, or what became of it. Nothing in version 2 proves who wrote it. */
export type Reading = { readonly id: number; readonly from: Person } & (
  | { readonly kind: 'message'; readonly content: Content }
  | {
      readonly kind: 'unreadable'
      readonly type: MessageType
      readonly reason: 'no-key' | 'bad-key' | 'malformed'
      /** It waits on our disk for a key that opens it. */
      readonly kept: boolean
    }
  /** The server handed it out before; it was shown then. */
  | { readonly kind: 'repeated' }
)

export interface ReadOptions {
  /** Where received files go. */
  readonly save: string
  readonly onProgress?: OnProgress
  /** The names of senders could not be asked for. */
  readonly onNamesUnknown?: (cause: Error) => Promise<void>
}

/**
 * Everything that waits for us. A message counts as shown when the next one is asked for; what was not shown comes
 * again in the next run, from our own disk.
 */
export async function* read(client: Client, options: ReadOptions): AsyncGenerator<Reading> {
  const me = await whoAmI(client)
  using inbox = await Inbox.open(client.dir)
  const kept = await Kept.open(client.dir)
  const reader = new Reader(client, options, { me, inbox, kept, state: await loadState(client.dir, me.id) })
  for (const path of await inbox.leftovers()) yield* reader.show(path, { again: true })
  for (let more = true; more; ) {
    await using fetch = await inbox.startFetch(options.onProgress)
    await exchangeWith(client, { request: { kind: 'fetch', asker: me.id }, receiver: fetch })
    for (const path of await inbox.leftovers()) yield* reader.show(path, { again: false })
    // one answer has room for 4 GiB: where the largest message would not have fitted any more, one may be waiting
    more = fetch.bytes + wire.contentBytesMax > wire.responsePayloadBytesMax - 25
  }
}

interface Desk {
  readonly me: Identity
  readonly inbox: Inbox
  readonly kept: Kept
  readonly state: State
}

class Reader {
  readonly #client: Client
  readonly #options: ReadOptions
  readonly #desk: Omit<Desk, 'state'>
  #state: State
  /** Identities of shown messages, the oldest first. */
  readonly #seen: Set<string>
  #namesAsked = false
  /** Senders whose kept messages no key of this moment opens. */
  readonly #triedInVain = new Set<string>()

  constructor(client: Client, options: ReadOptions, { state, ...desk }: Desk) {
    this.#client = client
    this.#options = options
    this.#desk = desk
    this.#state = state
    this.#seen = new Set(state.shown)
  }

  /** @param again whether an earlier run may have shown a part */
  async *show(path: string, { again }: { again: boolean }): AsyncGenerator<Reading> {
    await using spool = await Spool.open(path)
    for await (const sealed of spool.messages()) {
      if (this.#client.signal?.aborted) throw interrupted()
      const identity = await identityOf(sealed)
      if (sealed.at >= spool.shownUpTo) {
        yield* this.#showOne(sealed, identity, again)
        await spool.markShown(sealed)
      }
      // also when an earlier run showed the key: it may have died before it opened what had waited for it
      if (sealed.header.type === 'key') yield* this.#openKept(sealed.header.sender)
      this.#remember(identity)
    }
    await updateState(this.#client.dir, this.#desk.me.id, (state) => withShown(state, [...this.#seen]))
    await spool.remove()
  }

  #remember(identity: string): void {
    this.#seen.add(identity)
    for (const oldest of this.#seen) {
      if (this.#seen.size <= limits.shownMax) break
      this.#seen.delete(oldest)
    }
  }

  async *#showOne(sealed: Sealed, identity: string, again: boolean): AsyncGenerator<Reading> {
    const { message: id, sender, type } = sealed.header
    const about = { id, from: await this.#personOf(sender) }
    if (this.#seen.has(identity)) {
      yield { ...about, kind: 'repeated' }
      return
    }
    if (!rightSize(sealed.header)) {
      yield { ...about, kind: 'unreadable', type, reason: 'malformed', kept: false }
      return
    }
    switch (type) {
      case 'key-request':
        yield { ...about, kind: 'message', content: { kind: 'key-request' } }
        return
      case 'key': {
        const key = unwrapKey(await readContent(sealed), this.#desk.me.privateKey)
        if (key === undefined) yield { ...about, kind: 'unreadable', type, reason: 'bad-key', kept: false }
        else yield { ...about, kind: 'message', content: { kind: 'key', change: await this.#learn(sender, key) } }
        return
      }
      case 'text':
      case 'file': {
        const content = await this.#open(sealed, again)
        if (content !== undefined) {
          yield { ...about, kind: 'message', content }
          return
        }
        const reason = about.from.keys.length === 0 ? 'no-key' : 'bad-key'
        const kept = await this.#desk.kept.add(sealed, identity)
        yield { ...about, kind: 'unreadable', type, reason, kept }
      }
    }
  }

  /** The sender, by name if the server knows it: asked for once in a run. */
  async #personOf(sender: ClientId): Promise<Person> {
    const person = personIn(this.#state, sender)
    if (person.name !== undefined || this.#namesAsked) return person
    this.#namesAsked = true
    try {
      await people(this.#client)
      this.#state = await loadState(this.#client.dir, this.#desk.me.id)
    } catch (error) {
      const failure = asFailure(error)
      if (failure.code === 'interrupted') throw failure
      await this.#options.onNamesUnknown?.(failure)
    }
    return personIn(this.#state, sender)
  }

  /** Durable before the key is shown. */
  async #learn(sender: ClientId, key: AesKey): Promise<'first' | 'same' | 'changed'> {
    const [current] = personIn(this.#state, sender).keys
    if (current !== undefined && sameKey(current, key)) return 'same'
    this.#state = await updateState(this.#client.dir, this.#desk.me.id, (state) => withKey(state, sender, key))
    this.#triedInVain.delete(idText(sender))
    return current === undefined ? 'first' : 'changed'
  }

  async *#openKept(sender: ClientId): AsyncGenerator<Reading> {
    if (this.#triedInVain.has(idText(sender))) return
    for await (const { sealed, remove } of this.#desk.kept.from(sender)) {
      const content = await this.#open(sealed, true)
      if (content === undefined) continue
      yield { kind: 'message', id: sealed.header.message, from: personIn(this.#state, sender), content }
      await remove()
    }
    this.#triedInVain.add(idText(sender))
  }

  /** The content under the newest key that fits; `undefined` if none does. */
  async #open(sealed: Sealed, again: boolean): Promise<Content | undefined> {
    const tail = await readTail(sealed, 2 * blockBytes)
    const isText = sealed.header.type === 'text'
    const isShown = isText && sealed.header.contentBytes <= limits.textShownBytesMax
    for (const key of personIn(this.#state, sealed.header.sender).keys) {
      if (!paddingFits(key, tail)) continue
      if (!isShown) return { kind: 'file', text: isText, ...(await this.#save(sealed, key, again)) }
      const text = openText(key, await readContent(sealed))
      if (text !== undefined) return { kind: 'text', text }
    }
    return undefined
  }

  async #save(sealed: Sealed, key: AesKey, again: boolean): Promise<Received> {
    const { sender, message, type } = sealed.header
    const { name } = personIn(this.#state, sender)
    const folder = this.#options.save
    const opened = openPieces(key, contentPieces(sealed))
    const ending = `-${message}.${type === 'text' ? 'txt' : 'bin'}`
    const wish = name === undefined ? idText(sender) : nameToText(name)
    await makeFolder(folder)
    return this.#desk.inbox.withPartFile(folder, (partFile) =>
      saveReceived({
        folder,
        name: safeName(wish, ending, { max: limits.fileNameBytesMax }),
        partFile,
        content: type === 'text' ? withoutNul(opened) : opened,
        again,
        signal: this.#client.signal,
      }),
    )
  }
}

function rightSize({ type, contentBytes }: Delivered): boolean {
  switch (type) {
    case 'key-request':
      return contentBytes === 0
    case 'key':
      return contentBytes === wire.keyContentBytes
    case 'text':
    case 'file':
      return contentBytes > 0 && contentBytes % blockBytes === 0
  }
}

/** A text ends with one NUL, which may come in any piece. */
async function* withoutNul(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array | undefined
  for await (const piece of pieces) {
    if (held !== undefined) yield held
    held = piece
  }
  if (held !== undefined) yield held.at(-1) === 0 ? held.subarray(0, -1) : held
}
