import { limits, RefusedError } from '@messageu/protocol/v3'
import type { BoxReader, Waiting } from '../archive.ts'
import { type Conversation, type ConversationState, mayRead } from './conversation.ts'
import { Letter } from './letters.ts'
import type { Parts } from './parts.ts'
import { partaken } from './reading.ts'
import type { Device, RequestOf, ResponseOf } from './services.ts'

/** Sequences that one answer looks at. */
const sequencesMax = 1024
/** Bytes that are read back in one go. */
const bytesPerRead = 2 ** 20

type Gap = ResponseOf<'explain'>[number]
type Why = Gap['why']

/** What is in the boxes of a range of sequences. */
interface Stored {
  /** Where each that can be read stands, and whether it went to the device. */
  readonly found: ReadonlyMap<number, { readonly position: number; readonly isOwn: boolean }>
  /** Sequences between which there is something that cannot be read: both are not among the lost. */
  readonly damaged: readonly { readonly after: number; readonly before: number }[]
}

/** Tells of each sequence in a range why the device has not got it. Protocol 3 §7.4. */
export async function explain(parts: Parts, device: Device, request: RequestOf<'explain'>): Promise<Gap[]> {
  const { conversation, durable } = await partaken(parts, device.account, request.conversation)
  if (request.from < 1 || request.through < request.from)
    throw new RefusedError('malformed', `no range: ${request.from} to ${request.through}`)
  const { from } = request
  const through = Math.min(request.through, conversation.durableSequence, from + sequencesMax - 1)
  const acknowledged = await parts.archive.acknowledged(device.number)
  const stored = await storedBetween(parts, conversation, device, { from, through })
  const gaps: Gap[] = []
  for (let sequence = from; sequence <= through; sequence++) {
    const why = reasonOf(durable, device, { sequence, acknowledged, stored })
    const last = gaps.at(-1)
    if (last?.why === why) gaps[gaps.length - 1] = { ...last, through: sequence }
    else if (gaps.length === limits.pageMax) break
    else gaps.push({ from: sequence, through: sequence, why })
  }
  return gaps
}

function reasonOf(
  state: ConversationState,
  { number }: Device,
  { sequence, acknowledged, stored }: { sequence: number; acknowledged: number; stored: Stored },
): Why {
  if (!mayRead(state, number, sequence)) return 'not-addressed'
  const at = stored.found.get(sequence)
  if (at?.isOwn === true) return 'not-addressed'
  if (at !== undefined) return at.position <= acknowledged ? 'acknowledged' : 'waiting'
  if (stored.damaged.some(({ after, before }) => after < sequence && sequence < before)) return 'lost'
  const isExpired = sequence <= state.expiredThrough && acknowledged + 1 < state.expiredBelow
  return isExpired ? 'expired' : 'acknowledged'
}

async function storedBetween(
  parts: Parts,
  conversation: Conversation,
  device: Device,
  { from, through }: { from: number; through: number },
): Promise<Stored> {
  const found = new Map<number, { position: number; isOwn: boolean }>()
  const damaged: { after: number; before: number }[] = []
  for (const box of Object.values(conversation.boxes)) {
    const place = await placeBefore(parts, conversation, box, from)
    let last = from - 1
    let isDamaged = false
    for await (const { position, letter } of lettersFrom(parts, conversation, parts.archive.reader(box, place))) {
      if (letter === undefined) {
        isDamaged = true
        continue
      }
      const { sequence } = letter
      if (isDamaged) damaged.push({ after: last, before: sequence })
      isDamaged = false
      last = sequence
      if (sequence > through) break
      found.set(sequence, { position, isOwn: letter.isApplication && letter.sender === device.number })
    }
    if (isDamaged) damaged.push({ after: last, before: Number.POSITIVE_INFINITY })
  }
  return { found, damaged }
}

/** A position in a box behind which the first letter that can be read has at least this sequence: both only grow. */
async function placeBefore(parts: Parts, conversation: Conversation, box: number, sequence: number): Promise<number> {
  const { archive } = parts
  let low = (archive.reader(box, 0).peek()?.position ?? 1) - 1
  let high = Math.max(low, archive.newestOf(box))
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const next = await firstReadable(parts, conversation, archive.reader(box, middle))
    if (next === undefined || next.letter.sequence >= sequence) high = middle
    else low = next.position
  }
  return low
}

async function firstReadable(
  parts: Parts,
  conversation: Conversation,
  reader: BoxReader,
): Promise<{ position: number; letter: Letter } | undefined> {
  for await (const { position, letter } of lettersFrom(parts, conversation, reader, 1))
    if (letter !== undefined) return { position, letter }
  return undefined
}

async function* lettersFrom(
  { archive }: Parts,
  { id }: Conversation,
  reader: BoxReader,
  bytesMax: number = bytesPerRead,
): AsyncGenerator<{ position: number; letter: Letter | undefined }> {
  for (;;) {
    const batch: Waiting[] = []
    for (let bytes = 0; bytes < bytesMax; ) {
      const next = reader.peek()
      if (next === undefined) break
      batch.push(next)
      bytes += next.bytes
      reader.advance()
    }
    if (batch.length === 0) return
    const messages = await archive.read(batch)
    for (const [i, { position }] of batch.entries()) {
      const content = messages[i]?.content
      yield { position, letter: content && Letter.fromBox(content, id, position) }
    }
  }
}
