import { type OpenedMessage, open, readEnvelope, sealedHash, type Unopened, view } from '@messageu/e2ee/conversation'
import { type Delivery, limits as protocol, type SendId } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { sameBytes } from '../bytes.ts'
import { putRow } from '../rows.ts'
import { type Announced, isAnnounced } from './announcing.ts'
import { authoredIn } from './authored.ts'
import { takeContent } from './content-in.ts'
import { unopenedKey } from './errands.ts'
import { hearOfList } from './gossip.ts'
import { type ConversationRow, errandRow } from './rows.ts'
import { isRepeated } from './senders.ts'
import { getStuck } from './stuck.ts'
import { compare, take } from './transcript.ts'
import { historyKey, type Work } from './work.ts'

/** A message at its place in the sequence. */
export async function takeMessage(work: Work, delivery: Delivery, row: ConversationRow, asker: Asker): Promise<void> {
  const { sequence, sealed, generation } = delivery
  const seen = { ...row, transcript: take(row.transcript, { sequence, hash: sealedHash(sealed) }) }
  work.put(seen)
  const state = generation === row.generation ? await work.state(row.conversation) : undefined
  if (state === undefined) return setAside(work, delivery, seen, hasPlace(row) ? 'gone' : undefined)
  const opened = await open(state, sealed)
  work.putState(row.conversation, opened.state, state)
  if (opened.kind === 'unopened') return setAside(work, delivery, seen, opened.reason)
  const { message } = opened
  if (await isRepeated(work, row, message)) return
  await checkHistory(work, seen, message)
  await hearOfList(work, message, asker)
  await takeContent(work, { delivery, row: seen, state, message }, asker)
}

/** An item that cannot be opened is kept as it is, and shown as that. What comes again, or is one's own, is nothing new. */
async function setAside(
  work: Work,
  delivery: Delivery,
  row: ConversationRow,
  reason: Unopened | undefined,
): Promise<void> {
  if (reason === undefined || reason === 'repeated' || reason === 'own') return
  // what nobody has proved yet is counted, not kept
  const isSealed = delivery.sealed.length <= protocol.sealedBytesMax && !isAnnounced(row)
  const { id, epoch } = readEnvelope(delivery.sealed) ?? { id: undefined, epoch: 0 }
  if (id !== undefined && (await wasThere(work, row, id))) return
  if (reason === 'gone' && (await isFromBefore(work, row, { generation: delivery.generation, epoch }))) return
  const sealed = isSealed ? delivery.sealed : new Uint8Array()
  const isBehind = reason === 'early'
  const known = isBehind ? await getStuck(work, row, { epoch: row.epoch, why: 'a commit is missing' }) : row
  const kept = await work.record(
    known,
    delivery,
    { kind: 'unopened', body: { reason, epoch, id, sealed } },
    { isFed: true },
  )
  if (isAnnounced(kept)) work.put(withOneMore(kept))
  if (id === undefined) return
  const { conversation } = row
  const place = historyKey(kept, kept.base + delivery.sequence)
  const errand = { conversation, place, id, asked: 0, askedAt: 0 }
  work.store.put(putRow(errandRow, unopenedKey(place), { kind: 'unopened', body: errand }))
  work.tools.touched(conversation)
}

function withOneMore(row: Announced): ConversationRow {
  const { since, held } = row.standing.body
  return { ...row, standing: { kind: 'announced', body: { since, held: held + 1 } } }
}

/**
 * What was sealed before one's own account came, and accepted after, was never for it. If the server says so falsely, the
 * others have seen something else there.
 */
async function isFromBefore(
  work: Work,
  row: ConversationRow,
  { generation, epoch }: { generation: number; epoch: number },
): Promise<boolean> {
  const state = generation === row.generation ? await work.state(row.conversation) : undefined
  const own = state && view(state).lists.find(({ account }) => sameBytes(account, work.me.self.account))
  return own !== undefined && epoch < own.since
}

/** A server that counts anew delivers again what was opened by keys that are gone since. */
async function wasThere(work: Work, row: ConversationRow, id: SendId): Promise<boolean> {
  if (row.earlier.length === 0) return false
  return (await authoredIn(work.store, row, id)) !== undefined
}

function hasPlace({ standing }: ConversationRow): boolean {
  return standing.kind !== 'removed' && standing.kind !== 'left' && standing.kind !== 'withdrawn'
}

/** The author tells what it had seen: whoever has seen something else has been told another story. CONVERSATIONS C 8 */
async function checkHistory(
  work: Work,
  row: ConversationRow,
  { header, isForked, epoch, sender }: OpenedMessage,
): Promise<void> {
  const { conversation } = row
  if (row.silentFrom !== undefined) return
  if (isForked) await work.tell({ kind: 'fork', body: { conversation, epoch } })
  const { seen } = header
  if (compare(row.transcript, seen) === 'differs')
    await work.tell({ kind: 'differs', body: { conversation, sequence: seen.sequence, account: sender.account } })
}
