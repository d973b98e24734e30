import {
  type Content,
  decodeContent,
  encodeContent,
  type SealedMessage,
  seal,
  sealedHash,
} from '@messageu/e2ee/conversation'
import { type ConversationId, type RefusedError, refusalOf } from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'
import type { Draft, Outcome, Place, Sender, Unanswered } from '../outbox.ts'
import { dropRow, getRow, putRow } from '../rows.ts'
import type { Change, RowStore } from '../store.ts'
import { without } from './gaps.ts'
import { type ConversationRow, type DraftRow, doubtful, draftRow } from './rows.ts'
import { isNewestTitle } from './titles.ts'
import { take } from './transcript.ts'
import { giveUpTitle, noteTitled } from './untitled.ts'
import { historyKey, type Tools, Work } from './work.ts'

/** What becomes of messages and commits once they are answered, and how messages are sealed again. */
export function senderOf(tools: Tools): Sender {
  return {
    async answered(entry: Unanswered, outcome: Outcome, rows: RowStore): Promise<readonly Change[]> {
      const work = new Work(rows, tools)
      if (entry.operation === 'send') await messageAnswered(work, entry, outcome)
      else await commitAnswered(work, entry, outcome)
      return work.store.changes
    },
    async reseal(entry: Unanswered, refusal: RefusedError, rows: RowStore): Promise<Draft | 'later' | undefined> {
      if (entry.operation === 'commit') return undefined // whoever wanted it decides anew
      const work = new Work(rows, tools)
      return resealed(work, entry, refusal)
    },
  }
}

/**
 * Seals content for where the conversation is now, as this send. Nothing while not everybody is there who ought to be, or
 * this device has to find its way back first.
 */
export async function draftMessage(
  work: Work,
  conversation: ConversationId,
  { place, content }: { place: Place; content: Content },
): Promise<Draft | undefined> {
  const row = await work.conversation(conversation)
  if (row !== undefined && ['stuck', 'waiting', 'announced'].includes(row.standing.kind)) return undefined
  if (row?.standing.kind !== 'active') throw notHere()
  if (row.awaited.length > 0) return undefined
  const { epoch, sealed, authored } = await sealNow(work, row, { place, content })
  const draft = { conversation, id: place.id, content: encodeContent(content), authored, sealed: sealedHash(sealed) }
  work.store.put(putRow(draftRow, place.number, draft))
  return {
    sealed: { operation: 'send', request: { conversation, generation: row.generation, epoch, sealed } },
    changes: work.store.changes,
  }
}

async function sealNow(
  work: Work,
  row: ConversationRow,
  { place, content }: { place: Place; content: Content },
): Promise<SealedMessage> {
  const { me, lists } = work.tools
  const state = await work.state(row.conversation)
  const list = await lists.newest(work.store, me.self.account)
  if (state === undefined || list === undefined) throw notHere()
  const { seen } = row.transcript
  const sealed = await seal(state, me.self, content, { ...place, clock: work.nowMs, list, seen })
  work.putState(row.conversation, sealed.state, state)
  return sealed
}

/** Under the same id and number: it is the same message. CONVERSATIONS C 6 */
async function resealed(
  work: Work,
  entry: Unanswered,
  { current }: RefusedError,
): Promise<Draft | 'later' | undefined> {
  const { conversation, id, number } = entry
  const draft = await getRow(work.store, draftRow, number)
  const row = await work.conversation(conversation)
  if (draft === undefined || row === undefined) return undefined
  switch (row.standing.kind) {
    case 'left':
    case 'removed':
    case 'request':
    case 'withdrawn':
      return undefined
    case 'announced':
    case 'waiting':
    case 'stuck':
      return 'later'
    case 'active':
      break
  }
  const there = current.kind === 'epoch' ? current.body : { generation: entry.generation, epoch: entry.epoch + 1 }
  const isBehind = row.generation < there.generation || (row.generation === there.generation && row.epoch < there.epoch)
  if (isBehind || row.awaited.length > 0) return 'later'
  const { epoch, sealed, authored } = await sealNow(work, row, {
    place: { id, number },
    content: decodeContent(draft.content),
  })
  work.store.put(putRow(draftRow, number, { ...draft, authored, sealed: sealedHash(sealed) }))
  return {
    sealed: { operation: 'send', request: { conversation, generation: row.generation, epoch, sealed } },
    changes: work.store.changes,
  }
}

async function messageAnswered(work: Work, entry: Unanswered, outcome: Outcome): Promise<void> {
  const draft = await getRow(work.store, draftRow, entry.number)
  const row = await work.conversation(entry.conversation)
  work.store.put(dropRow(draftRow, entry.number))
  if (draft === undefined || row === undefined) return
  if (outcome.kind === 'accepted') await keepOwn(work, row, { draft, entry, outcome })
  else {
    const { conversation, id, content } = draft
    const { reason } = refusalOf(outcome.error)
    if (mayBeOut(row, outcome.error)) {
      work.put(doubtful(row))
      work.tools.touched(row.conversation)
    }
    const body = { conversation, id, reason, content }
    const said = decodeContent(content)
    if (said.kind === 'title') giveUpTitle(work, conversation)
    if (isShown(said)) await work.tell({ kind: 'failed', body })
  }
}

/** Others may have begun it anew without this device, and nothing comes any more that would tell. */
function mayBeOut({ standing }: ConversationRow, error: RefusedError): boolean {
  return refusalOf(error).reason === 'not-permitted' && standing.kind === 'active'
}

async function keepOwn(
  work: Work,
  row: ConversationRow,
  { draft, entry, outcome }: { draft: DraftRow; entry: Unanswered; outcome: Extract<Outcome, { kind: 'accepted' }> },
): Promise<void> {
  const { sequence } = outcome.accepted
  const transcript =
    entry.generation === row.generation ? take(row.transcript, { sequence, hash: draft.sealed }) : row.transcript
  const kept = { ...row, transcript, gaps: without(row.gaps, sequence), sentSinceUpdate: row.sentSinceUpdate + 1 }
  const { self } = work.me
  const sender = { account: self.account, device: self.device }
  const content = decodeContent(draft.content)
  if (!isShown(content)) return work.put(kept)
  const place = historyKey(row, row.base + sequence)
  const isTitle = content.kind === 'title' && (await isNewestTitle(work, row, place))
  const ownTitle = { number: entry.number, place, isLost: false }
  const titled = isTitle ? { ...kept, title: content.body.title, ownTitle } : kept
  if (content.kind === 'title') await noteTitled(work, row.conversation, entry)
  const entryBody = { sender, epoch: entry.epoch, authored: draft.authored }
  await work.record(titled, outcome.accepted, { kind: 'message', body: entryBody }, { isFed: false })
}

/**
 * A commit that was refused has no place; one that was accepted takes effect at the one it has. Doubt is not looked into at
 * once: whoever tries the same again looks first, and a server that refuses for another reason keeps nobody busy.
 * CONVERSATIONS C 5
 */
async function commitAnswered(work: Work, { conversation, id }: Unanswered, outcome: Outcome): Promise<void> {
  if (!(await work.isPending(conversation, { id }))) return
  const row = await work.conversation(conversation)
  if (outcome.kind === 'refused') {
    work.putPending(conversation, undefined)
    if (row !== undefined && mayBeOut(row, outcome.error)) work.put(doubtful(row))
  } else if (row !== undefined) {
    work.put({ ...row, accepted: { id, since: work.nowMs } })
    work.tools.touched(conversation)
  }
}

/** What people see of a conversation; the rest is between devices. */
function isShown({ kind }: Content): boolean {
  return kind === 'text' || kind === 'title' || kind === 'leave' || kind === 'unknown'
}

function notHere(): ClientError {
  return new ClientError('not-a-member', 'this device has no place in the conversation')
}
