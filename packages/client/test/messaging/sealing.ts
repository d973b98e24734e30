import assert from 'node:assert/strict'
import type { SigningKey } from '@messageu/e2ee'
import { type ConversationState, type SealedMessage, seal } from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { type ConversationId, SendId } from '@messageu/protocol/v3'
import { meOf } from '../../src/messaging/reader.ts'
import { conversationRow, groupParts, groupRow, stateRow } from '../../src/messaging/rows.ts'
import { accountKeys, accountRow, getRow, listRow } from '../../src/rows.ts'
import { random } from '../world.ts'
import type { Device } from './people.ts'

interface Lies {
  readonly text?: string
  readonly id?: SendId
  /** What it signs with in place of its own key. */
  readonly requestKey?: SigningKey
  /** What it makes of what it knows of the conversation. */
  readonly bend?: (state: ConversationState) => ConversationState
}

/** What a member seals and signs with a program of its own. Nothing of it is stored or sent. */
export async function sealedBy(
  { store, client }: Device,
  conversation: ConversationId,
  { text = 'not by me', id = decode(SendId, random(SendId.max)), requestKey, bend = (state) => state }: Lies,
): Promise<SealedMessage> {
  const part = (name: keyof typeof groupParts) => Uint8Array.of(...conversation, groupParts[name])
  const head = await getRow(store, groupRow, part('group'))
  const ratchets = await getRow(store, stateRow, part('ratchets'))
  const earlier = await getRow(store, stateRow, part('earlier'))
  const account = await getRow(store, accountRow, accountKeys.account)
  const list = await getRow(store, listRow, client.account.identity.account)
  const row = await getRow(store, conversationRow, conversation)
  assert(head && ratchets && earlier && account && list && row)
  const { self } = await meOf(account)
  const place = { id, number: 1_000 }
  return seal(
    bend({ ...head, ratchets, earlier }),
    { ...self, ...(requestKey && { requestKey }) },
    { kind: 'text', body: { text } },
    { ...place, clock: 1, list, seen: row.transcript.seen },
  )
}
