import type { ConversationId } from '@messageu/protocol/v3'
import { letterAt, senderBytes, writeHead, writeU64 } from './letters.ts'

/** Frames lie beside each other in buffers up to this; a larger one lies alone. */
const bufferBytesMax = 2 ** 18

/** A letter that was read back, as it is stored. */
export interface LetterBack {
  readonly position: number
  /** In whose box it lay, where its conversation is not repeated; undefined for the device's own. */
  readonly conversation: ConversationId | undefined
  readonly content: Uint8Array
}

/** Bytes of what is sealed in a letter; negative for what is none. */
export function sealedBytesOf({ conversation, content }: Omit<LetterBack, 'position'>): number {
  return content.length - (letterAt.sealed - contentFrom(conversation) + senderBytes)
}

/** The frames of letters, so many of them beside each other: they leave without being copied again. */
export function* framesOf(letters: readonly LetterBack[]): Generator<{ frames: Uint8Array; count: number }> {
  for (let first = 0; first < letters.length; ) {
    let bytes = 0
    let end = first
    for (let next = letters[end]; next !== undefined; next = letters[end]) {
      if (end > first && bytes + frameBytesOf(next) > bufferBytesMax) break
      bytes += frameBytesOf(next)
      end += 1
    }
    const frames = Buffer.allocUnsafeSlow(bytes)
    let at = 0
    for (let i = first; i < end; i++) at = writeFrame(frames, at, letters[i] as LetterBack) // within its bounds
    yield { frames, count: end - first }
    first = end
  }
}

/** Returns where it ends. */
function writeFrame(frames: Buffer, at: number, letter: LetterBack): number {
  const { position, conversation, content } = letter
  const end = at + frameBytesOf(letter)
  writeHead(frames, at, end - at)
  writeU64(frames, at + letterAt.position, position)
  if (conversation !== undefined) frames.set(conversation, at + letterAt.conversation)
  frames.set(content.subarray(0, content.length - senderBytes), at + contentFrom(conversation))
  return end
}

function frameBytesOf({ conversation, content }: LetterBack): number {
  return contentFrom(conversation) + content.length - senderBytes
}

/** Where in its frame the content of a letter begins. */
function contentFrom(conversation: ConversationId | undefined): number {
  return conversation === undefined ? letterAt.conversation : letterAt.generation
}
