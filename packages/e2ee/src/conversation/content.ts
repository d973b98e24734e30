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
import { AccountId, ConversationId, PublicKey, SendId, Signature } from '@messageu/protocol/v3'
import { Authored } from './authored-bytes.ts'
import { limits } from './limits.ts'
import { GroupId } from './shared.ts'

const standings = { accepted: 1, refused: 2, blocked: 3 } as const

/** A message that somebody else may not have, where it stood, and whose it is. */
const Copy = struct({ sequence: u64, at: u64, account: AccountId, authored: Authored })
export type Copy = Infer<typeof Copy>

/** What a device can say: each kind with its number. Protocol 3 §6.10 */
// biome-ignore format: the columns are the point
const kinds = {
  text:    { code: 1, body: struct({ text: text({ max: limits.textBytesMax }) }) },
  title:   { code: 2, body: struct({ title: text({ max: limits.titleBytesMax }) }) },
  /** Its account leaves: whoever takes its devices out shows the signature to the others. */
  leave:   { code: 3, body: struct({ epoch: u64, departure: Signature }) },
  /** Messages of others that this device has shown. */
  receipt: { code: 4, body: struct({ messages: list(SendId, { max: limits.idsPerContentMax }) }) },
  /** The sender could not open these. Among one's own devices whoever has them is asked, elsewhere whoever wrote them. */
  ask:     { code: 5, body: struct({ conversation: ConversationId, messages: list(SendId, { max: limits.idsPerContentMax }) }) },
  /** Messages as their authors signed them: an answer to `ask`, and what a new device of one's own gets of the past. */
  copies:  { code: 6, body: struct({ group: GroupId, copies: list(Copy, { max: limits.idsPerContentMax }) }) },
  /** Among one's own devices: how the user regards an account, and the account key that was verified. */
  contact: { code: 7, body: struct({ account: AccountId, standing: named(u8, standings), verified: optional(PublicKey) }) },
  /** Among one's own devices: the seed of the manager key, for a device that is to manage the account as well. */
  manager: { code: 8, body: struct({ seed: fixed(32) }) },
} as const

type Kinds = typeof kinds
type KnownContent = { [K in keyof Kinds]: { readonly kind: K; readonly body: Infer<Kinds[K]['body']> } }[keyof Kinds]

/** Of a kind that a newer version has: kept as it is, and shown as what it is. */
interface UnknownContent {
  readonly kind: 'unknown'
  readonly body: { readonly code: number; readonly bytes: Uint8Array }
}

export type Content = KnownContent | UnknownContent

const Frame = struct({ code: u16, body: bytes({ max: limits.paddedBytesMax }) })

export function encodeContent(content: Content): Uint8Array {
  if (content.kind === 'unknown') return encode(Frame, { code: content.body.code, body: content.body.bytes })
  return encode(Frame, { code: kinds[content.kind].code, body: bodyOf(content) })
}

function bodyOf(content: KnownContent): Uint8Array {
  switch (content.kind) {
    case 'text':
      return encode(kinds.text.body, content.body)
    case 'title':
      return encode(kinds.title.body, content.body)
    case 'leave':
      return encode(kinds.leave.body, content.body)
    case 'receipt':
      return encode(kinds.receipt.body, content.body)
    case 'ask':
      return encode(kinds.ask.body, content.body)
    case 'copies':
      return encode(kinds.copies.body, content.body)
    case 'contact':
      return encode(kinds.contact.body, content.body)
    case 'manager':
      return encode(kinds.manager.body, content.body)
  }
}

/** Throws `malformed` for a kind that we know with a body that it does not have. */
export function decodeContent(bytes: Uint8Array): Content {
  const { code, body } = decode(Frame, bytes)
  switch (code) {
    case kinds.text.code:
      return { kind: 'text', body: decode(kinds.text.body, body) }
    case kinds.title.code:
      return { kind: 'title', body: decode(kinds.title.body, body) }
    case kinds.leave.code:
      return { kind: 'leave', body: decode(kinds.leave.body, body) }
    case kinds.receipt.code:
      return { kind: 'receipt', body: decode(kinds.receipt.body, body) }
    case kinds.ask.code:
      return { kind: 'ask', body: decode(kinds.ask.body, body) }
    case kinds.copies.code:
      return { kind: 'copies', body: decode(kinds.copies.body, body) }
    case kinds.contact.code:
      return { kind: 'contact', body: decode(kinds.contact.body, body) }
    case kinds.manager.code:
      return { kind: 'manager', body: decode(kinds.manager.body, body) }
    default:
      return { kind: 'unknown', body: { code, bytes: body } }
  }
}
