import { utf8Encode } from '../utf8.ts'

/**
 * What a hash or a signature is for. It stands in front of the bytes, with a zero byte behind it, so that what was
 * signed for one purpose never passes for another. §1.4
 */
export const contexts = {
  accountKey: 'messageu/account-key/1',
  account: 'messageu/account/1',
  listEntry: 'messageu/list/1',
  listHash: 'messageu/list-hash/1',
  device: 'messageu/device/1',
  clientProof: 'messageu/session/client/1',
  serverProof: 'messageu/session/server/1',
  safetyNumber: 'messageu/safety/1',
  invite: 'messageu/invite/1',
  author: 'messageu/author/1',
} as const

export type Context = (typeof contexts)[keyof typeof contexts]

/** The bytes that are hashed or signed: context, zero byte, then the parts one after the other. */
export function inContext(context: Context, ...parts: readonly Uint8Array[]): Uint8Array {
  const label = utf8Encode(context)
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, label.length + 1))
  bytes.set(label)
  let at = label.length + 1
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
