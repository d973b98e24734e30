import type { Hash, Link } from '@messageu/protocol/v3'
import type { ClientError } from './errors.ts'

/** What a channel tells its owner. Nothing comes after `closed`, which comes exactly once. */
export interface ChannelEvents {
  /** One binary WebSocket message. */
  message(message: Uint8Array): void
  closed(why: ClientError): void
}

/** A WebSocket to the server that a link names. */
export interface Channel {
  /** SHA-256 of the certificate's public key (SubjectPublicKeyInfo); nothing without TLS, or where it cannot be seen. */
  readonly certificate: Hash | undefined
  send(message: Uint8Array): void
  /** Says no more; `closed` still comes. */
  close(): void
}

/**
 * Opens channels. Resolves once the WebSocket is open and the server is the one that the link names, as far as the
 * transport can tell: `untrusted-server` before a byte of ours has left, or `unreachable`. The signal ends the attempt.
 */
export interface Transport {
  open(link: Link, events: ChannelEvents, options: { signal: AbortSignal }): Promise<Channel>
}

/** Protocol 3 §2: where the WebSocket is, and what it speaks. */
export const socketPath = '/v3'
export const subprotocol = 'messageu.v3'
