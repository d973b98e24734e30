import { utf8Encode } from '@messageu/protocol'
import { numberKey } from './numbers.ts'

/** Of the direct conversation of two accounts, or of an account's notes to itself. */
export function pairKey(one: number, other: number): Uint8Array {
  return numberKey(Math.min(one, other), Math.max(one, other))
}

/** What a conversation keeps beside itself. */
export type HandshakeName = 'group-info' | 'tree' | 'welcome-tree' | 'sequence'

export function handshakeKey(conversation: number, name: HandshakeName): Uint8Array {
  return Buffer.concat([numberKey(conversation), utf8Encode(name)])
}
