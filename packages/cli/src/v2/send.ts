import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { type MessageType, nameToText, Receipt } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import type { OnProgress } from '../progress.ts'
import { type AesKey, aesKey, blockBytes, sealedBytes, sealPieces, sealText, wrapKey } from './crypto.ts'
import { idText } from './identity.ts'
import { limits } from './limits.ts'
import { findPerson, publicKey } from './people.ts'
import { ask, type Client, whoAmI } from './requests.ts'
import { pieces } from './sealed.ts'
import { type Person, updateState, withKey } from './state.ts'

/** The server has stored it. */
export interface Sent {
  readonly to: Person
  readonly id: number
  readonly kind: MessageType
  /** Of what the recipient gets to see. */
  readonly bytes: number
}

/** Asks for an AES key. */
export async function askForKey(client: Client, who: string): Promise<Sent> {
  const to = await findPerson(client, who)
  return deliver(client, to, { kind: 'key-request', bytes: 0, sealedBytes: 0, sealed: none() })
}

/** Gives the AES key that we use with this person: a new one, or the same one again. */
export async function giveKey(client: Client, who: string): Promise<Sent> {
  const me = await whoAmI(client)
  const found = await findPerson(client, who)
  const to = found.publicKey === undefined ? await publicKey(client, who) : { ...found, publicKey: found.publicKey }
  const key = to.keys[0] ?? aesKey(client.random(blockBytes))
  const sealed = wrapKey(key, to.publicKey)
  // the key is ours to keep before anybody can use it
  if (to.keys.length === 0) await updateState(client.dir, me.id, (state) => withKey(state, to.id, key))
  return deliver(client, to, { kind: 'key', bytes: blockBytes, sealedBytes: sealed.length, sealed: one(sealed) })
}

export async function sendText(client: Client, who: string, text: string): Promise<Sent> {
  const bytes = checkedText(text)
  const to = await findPerson(client, who)
  const sealed = sealText(keyFor(to), bytes)
  return deliver(client, to, { kind: 'text', bytes: bytes.length, sealedBytes: sealed.length, sealed: one(sealed) })
}

function checkedText(text: string): Uint8Array {
  if (!text.isWellFormed() || text.includes('\0'))
    throw new Failure('bad-text', {
      what: 'this is not a text that version 2 can carry',
      why: 'it holds a NUL or half a character',
      advice: 'messageu v2 file WHO PATH, which carries any bytes',
    })
  const bytes = Buffer.from(text)
  if (bytes.length > limits.textSentBytesMax)
    throw new Failure('too-large', {
      what: `the text has ${bytes.length} bytes, and at most ${limits.textSentBytesMax} go as a text`,
      advice: 'messageu v2 file WHO PATH',
    })
  return bytes
}

/** Sends a file of any size in pieces. Its name does not travel: version 2 has no room for one. */
export async function sendFile(client: Client, who: string, path: string, onProgress?: OnProgress): Promise<Sent> {
  await mustBeFile(path)
  const to = await findPerson(client, who)
  const key = keyFor(to)
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const { size, mtimeMs } = await file.stat()
  if (size > limits.plainFileBytesMax)
    throw new Failure('too-large', {
      what: `${path} has ${size} bytes, and version 2 carries at most ${limits.plainFileBytesMax}`,
      advice: 'send it in parts',
    })

  async function* content(): AsyncGenerator<Uint8Array> {
    let done = 0
    try {
      for await (const piece of pieces(file, 0, size)) {
        yield piece
        done += piece.length
        onProgress?.(done, size)
      }
    } catch (cause) {
      throw cause instanceof RangeError ? changed(path, cause) : cause
    }
    // the last block is still here: without it the server drops what it has
    const after = await file.stat()
    if (after.size !== size || after.mtimeMs !== mtimeMs) throw changed(path)
    if (size === 0) onProgress?.(0, 0)
  }
  const sealed = sealPieces(key, content())
  return await deliver(client, to, { kind: 'file', bytes: size, sealedBytes: sealedBytes(size), sealed })
}

/** Before it is opened: opening a pipe would wait for its other end. */
async function mustBeFile(path: string): Promise<void> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new Failure('no-such-file', { what: `${path} cannot be found or read`, advice: 'check the path', cause })
  })
  if (!found.isFile())
    throw new Failure('not-a-file', {
      what: `${path} is not a regular file`,
      why: 'version 2 announces the size before the content',
      advice: 'write it to a file first; pack a folder, for example with tar',
    })
}

function changed(path: string, cause?: unknown): Failure {
  return new Failure('file-changed', {
    what: `${path} changed while it was being sent`,
    advice: 'again when it is finished; the server has dropped the part',
    cause,
  })
}

function keyFor(person: Person): AesKey {
  const [key] = person.keys
  if (key !== undefined) return key
  const name = person.name === undefined ? idText(person.id) : nameToText(person.name)
  throw new Failure('no-key', {
    what: `there is no AES key between us and ${name} yet`,
    advice: `messageu v2 give "${name}" to make one, or messageu v2 ask "${name}" and read the answer`,
  })
}

interface Outgoing {
  readonly kind: MessageType
  readonly bytes: number
  readonly sealedBytes: number
  readonly sealed: AsyncIterable<Uint8Array>
}

async function deliver(client: Client, to: Person, { kind, bytes, sealedBytes, sealed }: Outgoing): Promise<Sent> {
  const me = await whoAmI(client)
  const addressed = { recipient: to.id, type: kind, contentBytes: sealedBytes }
  const receipt = await ask(client, { kind: 'send', asker: me.id, addressed }, Receipt, sealed)
  return { to, id: receipt.message, kind, bytes }
}

async function* none(): AsyncGenerator<Uint8Array> {}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
