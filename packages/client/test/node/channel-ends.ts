import { generateKeyPairSync } from 'node:crypto'
import { decode } from '@messageu/protocol'
import { type Link, PublicKey } from '@messageu/protocol/v3'
import type { ClientError } from '../../src/errors.ts'
import type { ChannelEvents } from '../../src/transport.ts'

/** The key of the server that links name. */
export const server = generateKeyPairSync('ed25519')

/** A link to a port of this machine. */
export function linkTo(port: number): Link {
  const spki = server.publicKey.export({ type: 'spki', format: 'der' })
  return { host: '127.0.0.1', port, serverKey: decode(PublicKey, spki.subarray(-32)), invite: undefined }
}

/** Somebody who keeps what a channel tells. */
export function hearing(): ChannelEvents & { messages: Uint8Array[]; readonly end: Promise<ClientError> } {
  const messages: Uint8Array[] = []
  const { promise, resolve } = Promise.withResolvers<ClientError>()
  return { messages, message: (message) => void messages.push(message), closed: resolve, end: promise }
}
