import { lstat } from 'node:fs/promises'
import { decode, ProtocolError } from '@messageu/protocol'
import { ClientId, type Name, nameFromText, operations, limits as wire } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { makeFolder, startDraft } from '../private-files.ts'
import { rememberAddress } from './address.ts'
import { formatIdentity, type Identity, identityPath } from './identity.ts'
import { ask, type Client, serverOf } from './requests.ts'
import { lockFiles, statePath } from './state.ts'

/** Stands in the header of a registration: who asks has no id yet. */
const noId = decode(ClientId, new Uint8Array(wire.idBytes))

/** Makes a key pair, registers it under `name`, and keeps both in `me.info`. Once in a folder. */
export async function register(client: Client, name: string): Promise<Identity> {
  const wanted = checkedName(name)
  const { dir } = client
  const path = identityPath(dir)
  await makeFolder(dir)
  using _lock = await lockFiles(dir)
  if (await exists(path)) throw alreadyRegistered(path)
  if (await exists(statePath(dir))) throw leftState(statePath(dir))
  const server = await serverOf(client)

  // the file comes first: a name that is registered with a key that cannot be kept is lost to everybody
  await using draft = await startDraft(path)
  const { publicKey, privateKey } = await client.newKeyPair()
  const registration = { name: wanted, publicKey }
  const id = await ask(client, { kind: 'register', asker: noId, registration }, operations.register.response)
  const identity = { name: wanted, id, privateKey }
  if (!(await draft.create(formatIdentity(identity)))) throw alreadyRegistered(path)
  await rememberAddress(dir, server)
  return identity
}

function checkedName(text: string): Name {
  try {
    if (/[\p{Cc}\p{Zl}\p{Zp}\ufffd]/u.test(text))
      throw new ProtocolError('malformed', 'it holds control characters, or bytes that are not UTF-8')
    return nameFromText(text)
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause
    throw new Failure('bad-name', {
      what: `"${text}" cannot be a name`,
      why: cause.message,
      advice: 'a name on one line, of at least 2 characters and at most 254 bytes of UTF-8',
      cause,
    })
  }
}

/** A link counts, wherever it leads. */
async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function alreadyRegistered(path: string): Failure {
  return new Failure('already-registered', {
    what: 'this folder is registered already',
    why: `${path} exists, and holds its id and private key`,
    advice: 'another folder (--dir) for another name',
  })
}

function leftState(path: string): Failure {
  return new Failure('already-registered', {
    what: `${path} is left over from a registration whose me.info is gone`,
    why: 'the AES keys in it may still open messages',
    advice: 'put its me.info back, move it away, or use another folder (--dir)',
  })
}
