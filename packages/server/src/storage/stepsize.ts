import assert from 'node:assert'
import { ProtocolError } from '@messageu/protocol'
import { archiveLimits, type Step } from '../archive.ts'
import { sealedHeadBytes } from './records.ts'

/** What an object's row costs beside its key and its value. */
const rowBytes = 32

export function messagesIn({ messages, run }: Step): number {
  return (messages?.length ?? 0) + (run?.count ?? 0)
}

/**
 * Bytes that a step adds to what is stored: 0 for one that only forgets and acknowledges, which a full disk must not
 * stop. Throws `too-large` for a step above the limits.
 */
export function checkStep({ objects = [], messages = [], run, trims = [] }: Step): number {
  let added = 0
  let moved = 24 * trims.length
  for (const { key, value } of objects) {
    moved += rowBytes + key.length
    if (value !== undefined) added += rowBytes + key.length + value.length
  }
  for (const { box, content } of messages) {
    assert(box >= archiveLimits.firstBox, 'a message of version 3 does not go to a client of version 2')
    if (content.length > archiveLimits.messageBytesMax)
      throw new ProtocolError('too-large', `a message of ${content.length} bytes`)
    added += rowBytes + sealedHeadBytes + content.length
  }
  if (run !== undefined) added += rowBytes * run.count + run.length
  if (added + moved > archiveLimits.stepBytesMax)
    throw new ProtocolError('too-large', `${added + moved} bytes in one step`)
  return added
}
