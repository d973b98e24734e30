import {
  bytes,
  decode,
  encode,
  fixed,
  type Infer,
  list,
  named,
  optional,
  struct,
  text,
  u8,
  u16,
  u64,
} from '@messageu/protocol'
import { AccountId, ConversationId, DeviceId, Incarnation, PublicKey, SendId, Signature } from '@messageu/protocol/v3'
import { Authored } from './authored-bytes.ts'
import { limits } from './limits.ts'
import { GroupId } from './shared.ts'

const standings = { accepted: 1, refused: 2, blocked: 3, stranger: 4 } as const

/** A message that somebody else may not have, where it stood, and whose it is. */
export const Copy = struct({ sequence: u64, at: u64, account: AccountId, authored: Authored })
export type Copy = Infer<typeof Copy>

/** An incarnation of the server, and how many places it takes in the history of whoever says so. Protocol 3 §3.1 */
export const Count = struct({ incarnation: Incarnation, room: u64 })
export type Count = Infer<typeof Count>

/** What a device can say: each kind with its number. Protocol 3 §6.11 */
// biome-ignore format: the columns are the point
export const contents = {
  text:    { code: 1, body: struct({ text: text({ max: limits.textBytesMax }) }) },
  title:   { code: 2, body: struct({ title: text({ max: limits.titleBytesMax }) }) },
  /** Its account leaves: whoever takes its devices out shows the signature to the others. */
  leave:   { code: 3, body: struct({ epoch: u64, departure: Signature }) },
  /** Messages of others that this device has shown. */
  receipt: { code: 4, body: struct({ messages: list(SendId, { max: limits.idsPerContentMax }) }) },
  /** The sender could not open these. Among one's own devices whoever has them is asked, elsewhere whoever wrote them. */
  ask:     { code: 5, body: struct({ conversation: ConversationId, messages: list(SendId, { max: limits.idsPerContentMax }) }) },
  /** Messages as their authors signed them: an answer to `ask`, and what a new device of one's own gets of the past. */
  copies:  { code: 6, body: struct({ group: GroupId, counts: list(Count, { max: limits.countsMax }), copies: list(Copy, { max: limits.idsPerContentMax }) }) },
  /** Among one's own devices: how the user regards an account, and the account key that was verified. */
  contact: { code: 7, body: struct({ account: AccountId, standing: named(u8, standings), verified: optional(PublicKey) }) },
  /** Among one's own devices: the seed of the manager key, for a device that is to manage the account as well. */
  manager: { code: 8, body: struct({ seed: fixed(32) }) },
  /** Among one's own devices: this new one has been given contacts and history. */
  settled: { code: 9, body: struct({ device: DeviceId }) },
} as const

type Kinds = typeof contents
type KnownContent = { [K in keyof Kinds]: { readonly kind: K; readonly body: Infer<Kinds[K]['body']> } }[keyof Kinds]

/** Of a kind that a newer version has: kept as it is, and shown as what it is. */
interface UnknownContent {
  readonly kind: 'unknown'
  readonly body: { readonly code: number; readonly bytes: Uint8Array }
}

export type Content = KnownContent | UnknownContent

export const ContentBytes = struct({ code: u16, body: bytes({ max: limits.paddedBytesMax }) })

export function encodeContent(content: Content): Uint8Array {
  if (content.kind === 'unknown') return encode(ContentBytes, { code: content.body.code, body: content.body.bytes })
  return encode(ContentBytes, { code: contents[content.kind].code, body: bodyOf(content) })
}

function bodyOf(content: KnownContent): Uint8Array {
  switch (content.kind) {
    case 'text':
      return encode(contents.text.body, content.body)
    case 'title':
      return encode(contents.title.body, content.body)
    case 'leave':
      return encode(contents.leave.body, content.body)
    case 'receipt':
      return encode(contents.receipt.body, content.body)
    case 'ask':
      return encode(contents.ask.body, content.body)
    case 'copies':
      return encode(contents.copies.body, content.body)
    case 'contact':
      return encode(contents.contact.body, content.body)
    case 'manager':
      return encode(contents.manager.body, content.body)
    case 'settled':
      return encode(contents.settled.body, content.body)
  }
}

/** Throws `malformed` for a kind that we know with a body that it does not have. */
export function decodeContent(bytes: Uint8Array): Content {
  const { code, body } = decode(ContentBytes, bytes)
  switch (code) {
    case contents.text.code:
      return { kind: 'text', body: decode(contents.text.body, body) }
    case contents.title.code:
      return { kind: 'title', body: decode(contents.title.body, body) }
    case contents.leave.code:
      return { kind: 'leave', body: decode(contents.leave.body, body) }
    case contents.receipt.code:
      return { kind: 'receipt', body: decode(contents.receipt.body, body) }
    case contents.ask.code:
      return { kind: 'ask', body: decode(contents.ask.body, body) }
    case contents.copies.code:
      return { kind: 'copies', body: decode(contents.copies.body, body) }
    case contents.contact.code:
      return { kind: 'contact', body: decode(contents.contact.body, body) }
    case contents.manager.code:
      return { kind: 'manager', body: decode(contents.manager.body, body) }
    case contents.settled.code:
      return { kind: 'settled', body: decode(contents.settled.body, body) }
    default:
      return { kind: 'unknown', body: { code, bytes: body } }
  }
}
