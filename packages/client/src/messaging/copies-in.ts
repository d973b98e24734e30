import {
  type Content,
  type Copy,
  proveAuthorship,
  readAuthored,
  verifyAuthorship,
  view,
} from '@messageu/e2ee/conversation'
import { ProtocolError } from '@messageu/protocol'
import { type AccountId, type SendId, toBase64url } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { isAmong, sameBytes } from '../bytes.ts'
import { dropRow, getRow, listRow, putRow } from '../rows.ts'
import { messagesIn } from './authored.ts'
import type { TakenMessage } from './content-in.ts'
import { placeOf, reaching, withCount } from './counts.ts'
import { unopenedKey } from './errands.ts'
import { feeding, isWaiting } from './feed.ts'
import { takePartAs } from './requests.ts'
import { type ConversationRow, errandRow, type HistoryRow, historyRow, type Person } from './rows.ts'
import { isNewestTitle } from './titles.ts'
import { historyKey, type Work } from './work.ts'

/**
 * Messages that this device does not have, as their authors signed them. A sibling is believed in what stood where; any
 * other member only gives back what it has written itself, in the place of what could not be opened. CONVERSATIONS C 9
 */
export async function takeCopies(
  work: Work,
  { message }: TakenMessage,
  { group, counts, copies }: Extract<Content, { kind: 'copies' }>['body'],
  asker: Asker,
): Promise<void> {
  const known = await work.conversation(group.conversation)
  const isSibling = sameBytes(message.sender.account, work.me.self.account)
  if (isSibling && known !== undefined) await takePartAs(work, known)
  const before = await work.conversation(group.conversation)
  const [count] = counts
  if (before === undefined || count === undefined) return
  const row = withCount(before, counts)
  // since the server was restored, what is here may have another place than in the history of whoever gives it
  const here = isSibling && row.earlier.length > 0 ? await idsIn(work, row) : new Set<string>()
  let current = row
  for (const copy of copies) {
    const place = placeOf(row, count.incarnation, copy.sequence)
    if (place === undefined) continue
    const key = historyKey(row, place)
    const there = await getRow(work.store, historyRow, key)
    if (there !== undefined && there.entry.kind !== 'unopened') continue
    if (there === undefined && !isSibling) continue
    if (!isSibling && !sameBytes(copy.account, message.sender.account)) continue
    const sender = await authorOf(work, copy, group.conversation, asker)
    if (sender === undefined || !fits(there, sender.id)) continue
    if (there === undefined && here.has(toBase64url(sender.id))) continue
    current = await put(work, current, { place, there, copy, sender: sender.person, isSibling })
  }
}

/** Of the messages that this device has of a conversation. */
async function idsIn({ store }: Work, row: ConversationRow): Promise<ReadonlySet<string>> {
  const ids = new Set<string>()
  for await (const { authored } of messagesIn(store, row)) ids.add(toBase64url(readAuthored(authored).header.id))
  return ids
}

async function put(
  work: Work,
  row: ConversationRow,
  {
    place,
    there,
    copy,
    sender,
    isSibling,
  }: { place: number; there: HistoryRow | undefined; copy: Copy; sender: Person; isSibling: boolean },
): Promise<ConversationRow> {
  const { conversation } = row
  const { header, content } = readAuthored(copy.authored)
  const { group } = header
  const key = historyKey(row, place)
  const entry = { kind: 'message', body: { sender, epoch: 0, authored: copy.authored } } as const
  const at = there?.at ?? copy.at
  work.store.put(
    putRow(historyRow, key, { conversation, generation: group.generation, sequence: copy.sequence, at, entry }),
  )
  // what was shown as unopened is shown again; the past of a device that is new is history
  if (there !== undefined) work.store.put(dropRow(errandRow, unopenedKey(key)))
  if (there !== undefined && row.silentFrom === undefined && !(await isWaiting(work.store, key)))
    work.store.put(...(await feeding(work.store, [{ kind: 'history', body: key }])))
  const named = content.kind === 'title' && (await isNewestTitle(work, row, key))
  const isTitle = named && (isSibling || (await isOwner(work, row, sender.account)))
  const titled = isTitle ? { ...row, title: content.body.title, ownTitle: undefined } : row
  const next = reaching(titled, place)
  work.put(next)
  return next
}

async function isOwner(work: Work, { kind, conversation }: ConversationRow, account: AccountId): Promise<boolean> {
  const state = kind === 'group' ? await work.state(conversation) : undefined
  return state !== undefined && isAmong(account, view(state).owners)
}

/** Who wrote it, if the signature of a device on that account's list says so. */
async function authorOf(
  work: Work,
  { account, authored }: Copy,
  conversation: ConversationRow['conversation'],
  asker: Asker,
) {
  const header = headerOf(authored)
  if (header === undefined || !sameBytes(header.group.conversation, conversation)) return undefined
  if (!(await work.learn([{ account, ...header.list }], asker))) return undefined
  const list = await getRow(work.store, listRow, account)
  if (list === undefined) return undefined
  try {
    const proven = await verifyAuthorship(proveAuthorship(authored, list.entries))
    if (!sameBytes(proven.account, account)) return undefined
    return { id: header.id, person: { account, device: header.device } }
  } catch {
    return undefined // bytes of a peer that prove nothing
  }
}

function headerOf(authored: Copy['authored']) {
  try {
    return readAuthored(authored).header
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

/** What could not be opened has a name on its outside; nothing else takes its place. */
function fits(there: HistoryRow | undefined, id: SendId): boolean {
  if (there === undefined) return true
  if (there.entry.kind !== 'unopened') return false
  const wanted = there.entry.body.id
  return wanted !== undefined && sameBytes(wanted, id)
}
