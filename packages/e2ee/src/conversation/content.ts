import { bytes, decode, encode, type Infer, list, struct, text, u16, u64 } from '@messageu/protocol'
import { SendId, Signature } from '@messageu/protocol/v3'
import { limits } from './limits.ts'

/** What a device can say: each kind with its number. Protocol 3 §6.10 */
// biome-ignore format: the columns are the point
const kinds = {
  text:    { code: 1, body: struct({ text: text({ max: limits.textBytesMax }) }) },
  title:   { code: 2, body: struct({ title: text({ max: limits.titleBytesMax }) }) },
  /** Its account leaves: whoever takes its devices out shows the signature to the others. */
  leave:   { code: 3, body: struct({ epoch: u64, departure: Signature }) },
  /** Messages of others that this device has shown. */
  receipt: { code: 4, body: struct({ messages: list(SendId, { max: 1000 }) }) },
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
    default:
      return { kind: 'unknown', body: { code, bytes: body } }
  }
}
