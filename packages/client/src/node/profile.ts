import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { Secret } from '@messageu/e2ee'
import { ClientError } from '../errors.ts'
import type { Store } from '../store.ts'
import { readKeyFile, writeKeyFile } from './key-file.ts'
import { makePrivateFolder, mustBePrivate } from './private-files.ts'
import { lockProfile } from './profile-lock.ts'
import { SqliteStore } from './sqlite-store.ts'

/** A folder that one device lives in: `profile.key`, `profile.db`, and the lock that keeps a second process out. */
export interface Profile extends AsyncDisposable {
  readonly store: Store
  /** From now on the profile opens with this passphrase, or without one. */
  setPassphrase(passphrase: Secret | undefined): Promise<void>
}

/**
 * Opens the profile, or begins one where there is none. A new one is protected by `passphrase` if that is given, else by
 * the mode of its files. Throws `in-use` with the owner, `passphrase-needed`, `wrong-passphrase`, `damaged`.
 */
export async function openProfile(folder: string, { passphrase }: { passphrase?: Secret } = {}): Promise<Profile> {
  makePrivateFolder(folder)
  await using opening = new AsyncDisposableStack()
  opening.use(lockProfile(folder))
  const keyFile = path.join(folder, 'profile.key')
  const storeFile = path.join(folder, 'profile.db')
  const key = (await readKeyFile(keyFile, passphrase)) ?? (await beginProfile(keyFile, storeFile, passphrase))
  const store = opening.use(await SqliteStore.open(storeFile, key))
  const held = opening.move()
  return {
    store,
    setPassphrase: (next) => writeKeyFile(keyFile, key, next),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

async function beginProfile(keyFile: string, storeFile: string, passphrase: Secret | undefined): Promise<Secret> {
  if (mustBePrivate(storeFile))
    throw new ClientError('damaged', `${keyFile} is gone, and nothing else opens ${storeFile}`)
  const key = new Secret(randomBytes(32))
  await writeKeyFile(keyFile, key, passphrase)
  return key
}
