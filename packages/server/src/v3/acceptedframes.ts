import { answers, frameHeadBytes } from '@messageu/protocol/v3'
import type { Stepped } from '../archive.ts'

/** Where the fields of an answer to `send` stand. Protocol 3 §6.6. */
const at = {
  sequence: frameHeadBytes,
  position: frameHeadBytes + 8,
  time: frameHeadBytes + 16,
} as const
const frameBytes = frameHeadBytes + 24

/**
 * The answers to sends that stand one behind the other from `sequence` on, as frames. Written field by field rather than
 * by codec: there are some hundred thousand a second. A test compares them with the codec.
 */
export function acceptedFrames(
  requests: readonly number[],
  sequence: number,
  { positions, at: time }: Stepped,
): Uint8Array {
  const frames = new Uint8Array(requests.length * frameBytes)
  const view = new DataView(frames.buffer)
  for (let i = 0; i < requests.length; i++) {
    const from = i * frameBytes
    view.setUint32(from, frameBytes, true)
    frames[from + 4] = answers.done
    view.setUint32(from + 5, requests[i] as number, true) // within its bounds
    putU64(view, from + at.sequence, sequence + i)
    putU64(view, from + at.position, positions[i] as number) // one for each
    putU64(view, from + at.time, time)
  }
  return frames
}

function putU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, true)
  view.setUint32(offset + 4, value / 2 ** 32, true)
}
