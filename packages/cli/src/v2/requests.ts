import { randomBytes } from 'node:crypto'
import { type Codec, decode, ProtocolError } from '@messageu/protocol'
import type { Request } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { type Address, formatAddress, loadAddress } from './address.ts'
import { badAnswer, exchange, type Receiver } from './connection.ts'
import { type KeyPair, newKeyPair } from './crypto.ts'
import { identityPath, type LoadedIdentity, loadIdentity } from './identity.ts'
import { type Deadlines, deadlines, limits } from './limits.ts'

/** A version 2 client: a folder with its files, and what it needs from outside. */
export interface Client {
  /** Holds `me.info`, `server.info`, `me.state` and the messages that were fetched and not shown. */
  readonly dir: string
  /** Instead of the one in `server.info`. */
  readonly server?: Address | undefined
  /** Cancels the wait and the transfer; what is already on the disk stays. */
  readonly signal?: AbortSignal | undefined
  readonly deadlines: Deadlines
  readonly random: (count: number) => Uint8Array
  readonly newKeyPair: () => Promise<KeyPair>
}

export function openClient(options: Partial<Client> & Pick<Client, 'dir'>): Client {
  return { deadlines, random: randomBytes, newKeyPair, ...options }
}

/** Who this client is. */
export async function whoAmI({ dir }: Client): Promise<LoadedIdentity> {
  const identity = await loadIdentity(dir)
  if (identity !== undefined) return identity
  throw new Failure('not-registered', {
    what: 'this folder is not registered with a server',
    why: `there is no ${identityPath(dir)}`,
    advice: 'messageu v2 register NAME, or name the folder with --dir',
  })
}

export async function serverOf({ server, dir }: Client): Promise<Address> {
  const address = server ?? (await loadAddress(dir))
  if (address !== undefined) return address
  throw new Failure('no-server', {
    what: 'no server is known',
    why: `there is no server.info in ${dir}`,
    advice: '--server HOST:PORT, or a file server.info with one line HOST:PORT',
  })
}

/** Asks for something whose answer is small, and decodes it. */
export async function ask<T>(
  client: Client,
  request: Request,
  response: Codec<T>,
  content?: AsyncIterable<Uint8Array>,
): Promise<T> {
  const chunks: Uint8Array[] = []
  const receiver: Receiver = {
    onHeader(_header, bytes) {
      if (bytes > limits.answerBytesMax)
        throw new ProtocolError(
          'malformed',
          `it announces ${bytes} bytes, and we take at most ${limits.answerBytesMax}`,
        )
    },
    onPiece: (piece) => void chunks.push(piece),
    onComplete: async () => {},
  }
  await exchangeWith(client, { request, receiver, ...(content && { content }) })
  try {
    return decode(response, Buffer.concat(chunks))
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    throw badAnswer(formatAddress(await serverOf(client)), error)
  }
}

interface Asked {
  readonly request: Request
  readonly receiver: Receiver
  readonly content?: AsyncIterable<Uint8Array>
}

export async function exchangeWith(client: Client, asked: Asked): Promise<void> {
  const { deadlines, signal } = client
  await exchange({ server: await serverOf(client), deadlines, signal, ...asked })
}
