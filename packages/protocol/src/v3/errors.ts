import { bytes, type Codec, type Infer, mapped, named, nothing, struct, u16, u32, u64, union } from '../codec.ts'
import { ProtocolError, type Reason, reasons } from '../errors.ts'
import { utf8Decode, utf8Encode } from '../utf8.ts'
import { Hash } from './ids.ts'
import { limits } from './limits.ts'

/** The reasons that version 3 gives, as they stand on the wire. §10 */
// biome-ignore format: the columns are the point
export const reasonCodes = {
  malformed:             1,
  'unknown-code':        2,
  unproved:              3,
  'not-permitted':       4,
  limited:               5,
  busy:                  6,
  'storage-full':        7,
  stopping:              8,
  internal:              9,
  damaged:               10,
  timeout:               11,
  'unsupported-version': 12,
  'too-large':           13,
  'name-taken':          20,
  'bad-name':            21,
  'bad-invite':          22,
  'registration-closed': 23,
  'bad-list':            24,
  'stale-list':          25,
  'conversation-exists': 30,
  'stale-epoch':         31,
  'stale-generation':    32,
  'id-reused':           33,
  'mailbox-full':        34,
} as const satisfies Partial<Record<Reason, number>>

export type V3Reason = keyof typeof reasonCodes

/** What has changed meanwhile, for whoever builds the request anew. §10 */
export const Current = union({
  nothing: { tag: 0, body: nothing },
  /** The conversation's generation and epoch, and where the commit that led to it stands. */
  epoch: { tag: 1, body: struct({ generation: u32, epoch: u64, sequence: u64 }) },
  list: { tag: 2, body: struct({ version: u32, hash: Hash }) },
})
export type Current = Infer<typeof Current>

/** Text for people, cut short where it does not fit: it may repeat what the peer wrote, and is sent in any case. */
const explanation: Codec<string> = mapped(bytes({ max: limits.explanationBytesMax }), {
  from: utf8Decode,
  to(text) {
    const bytes = utf8Encode(text.slice(0, limits.explanationBytesMax + 1).toWellFormed())
    let end = Math.min(bytes.length, limits.explanationBytesMax)
    while (isInsideCharacter(bytes, end)) end--
    return bytes.subarray(0, end)
  },
})

/** The body of a refusal. §2.4 */
export const Refusal = struct({
  reason: named(u16, reasonCodes),
  /** Not before this many milliseconds; 0 where waiting does not help or is not known to. */
  retryAfterMs: u32,
  explanation,
  current: Current,
})
export type Refusal = Infer<typeof Refusal>

/** A refusal of version 3: what the peer is told beside the reason. */
export class RefusedError extends ProtocolError {
  readonly retryAfterMs: number
  readonly current: Current

  constructor(
    reason: V3Reason,
    message: string,
    {
      retryAfterMs = 0,
      current = { kind: 'nothing', body: undefined },
    }: { retryAfterMs?: number; current?: Current } = {},
  ) {
    super(reason, message)
    this.retryAfterMs = retryAfterMs
    this.current = current
  }

  get retry(): 'never' | 'later' | 'changed' {
    return reasons[this.reason].retry
  }
}

/** What goes on the wire for any error: a reason that version 3 does not have is `internal`, and tells nothing more. */
export function refusalOf(error: unknown): Refusal {
  if (!(error instanceof ProtocolError) || !isV3Reason(error.reason))
    return { reason: 'internal', retryAfterMs: 0, explanation: 'a mistake of the server', current: none }
  const { retryAfterMs = 0, current = none } = error instanceof RefusedError ? error : {}
  const wholeMs = Math.min(Math.ceil(retryAfterMs), 2 ** 32 - 1)
  return { reason: error.reason, retryAfterMs: wholeMs, explanation: error.message, current }
}

/** The error that a refusal stands for. */
export function errorOf({ reason, retryAfterMs, explanation, current }: Refusal): RefusedError {
  return new RefusedError(reason, explanation, { retryAfterMs, current })
}

const none: Current = { kind: 'nothing', body: undefined }

/** Whether a cut at `at` would leave a character without its end (RFC 3629 §3). */
function isInsideCharacter(bytes: Uint8Array, at: number): boolean {
  return ((bytes[at] ?? 0) & 0xc0) === 0x80
}

function isV3Reason(reason: Reason): reason is V3Reason {
  return reason in reasonCodes
}
