import type { Secret } from '@messageu/e2ee'
import { Client } from '../messaging/client.ts'
import type { ClientOptions } from '../messaging/connecting.ts'
import { openProfile } from './profile.ts'
import { nodeWorld } from './world.ts'

export interface ConnectOptions extends Omit<ClientOptions, 'store' | 'world' | 'owned'> {
  /** The folder of the profile: nobody else uses it while the client is open. */
  readonly profile: string
  readonly passphrase?: Secret
}

/** The device that lives in a folder, at its server. Throws what `openProfile` and `Client.connect` throw. */
export async function connect({ profile: folder, passphrase, ...options }: ConnectOptions): Promise<Client> {
  const profile = await openProfile(folder, passphrase === undefined ? {} : { passphrase })
  return Client.connect({ ...options, store: profile.store, world: nodeWorld(), owned: profile })
}
