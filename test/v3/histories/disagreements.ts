import { type Item, systemClock } from '@messageu/client'
import { type View, view } from '@messageu/e2ee/conversation'
import { type ConversationId, fromBase64url, toBase64url } from '@messageu/protocol/v3'
import { look } from '../../../packages/client/src/messaging/desk.ts'
import { Lists } from '../../../packages/client/src/messaging/lists.ts'
import { meOf, registeredIn } from '../../../packages/client/src/messaging/reader.ts'
import { courseOf, hasLeft, type Past } from './past.ts'
import type { Phone } from './phone.ts'

/** In which conversations not everybody is where they ought to be, or not all see the same. */
export async function disagreements(
  past: Past,
  alive: readonly Phone[],
  pending: ReadonlySet<Phone>,
): Promise<readonly string[]> {
  const found: string[] = []
  for (const [text, title] of past.titles) {
    const conversation = fromBase64url(text) as ConversationId // it was one before it was written down
    const roster = rosterOf(past, text)
    if (roster === undefined || isOver(past, text, roster)) continue
    const wrong = [
      ...outOfPlace(past, text, { roster, pending }),
      ...(await differences(past, alive, conversation, roster)),
    ]
    if (wrong.length > 0) found.push(`${title}: ${wrong.join('\n  ')}\n${courseOf(past, text)}`)
  }
  return found
}

/** Every account with a device on the roster has left it since that is the roster. */
function isOver({ phones, town: { ledger } }: Past, conversation: string, roster: readonly string[]): boolean {
  const generation = ledger.generationsOf(conversation).at(-1) ?? 0
  const commits = [...ledger.of(conversation, generation).values()].filter(({ kind }) => kind === 'commit')
  const since = Math.max(0, ...commits.map(({ recorded }) => recorded))
  const leavers = ledger.leaversOf(conversation)
  const gone = new Set(phones.filter(({ id }) => (leavers.get(id) ?? -1) >= since).map(({ person }) => person))
  return phones.every(({ id, person }) => !roster.includes(id) || gone.has(person))
}

/** The devices after the last commit; before the first one, whoever has opened it is alone. */
function rosterOf({ town: { ledger } }: Past, conversation: string): readonly string[] | undefined {
  const generation = ledger.generationsOf(conversation).at(-1)
  if (generation === undefined) return undefined
  const entries = ledger.inOrder(conversation, generation).map(([, entry]) => entry)
  const last = entries.findLast(({ kind }) => kind === 'commit')
  return last?.kind === 'commit' ? last.roster : entries.slice(0, 1).map(({ by }) => by)
}

/** Dropped devices that are there, and listed ones of members that are not. */
function outOfPlace(
  past: Past,
  conversation: string,
  { roster, pending }: { roster: readonly string[]; pending: ReadonlySet<Phone> },
): string[] {
  const people = new Set(past.phones.filter(({ id }) => roster.includes(id)).map(({ person }) => person))
  return past.phones.flatMap((phone) => {
    const { id, name, person, isDropped } = phone
    if (roster.includes(id))
      return isDropped && !pending.has(phone) ? [`${name} was dropped, and is on the roster`] : []
    const isMissing = !isDropped && people.has(person) && !hasLeft(past, conversation, accountOf(phone))
    return isMissing ? [`${name} is not on the roster`] : []
  })
}

async function differences(
  past: Past,
  alive: readonly Phone[],
  conversation: ConversationId,
  roster: readonly string[],
): Promise<string[]> {
  const found: string[] = []
  const seen = new Map<string, string>()
  const titles = new Map<string, string>()
  for (const phone of alive) {
    const known = await phone.client.describe(conversation)
    const isHere = known?.standing === 'active'
    if (!roster.includes(phone.id)) {
      if (isHere || known?.standing === 'stuck') found.push(`${phone.name} is not on the roster, and ${known.standing}`)
      continue
    }
    const state = await look(await keptBy(phone)).state(conversation)
    if (isHere && state !== undefined) seen.set(phone.name, whatIsSeen(view(state)))
    else if (!hasLeft(past, toBase64url(conversation), accountOf(phone)))
      found.push(`${phone.name} is on the roster, and ${known?.standing}`)
    // who has not read it, because nobody said it since, does not know it
    const mayDiffer =
      isForsaken(past, toBase64url(conversation), known?.title, roster) ||
      mayMissTitle(past, await phone.historyOf(conversation))
    if (isHere && known.title !== undefined && !mayDiffer) titles.set(phone.name, known.title)
  }
  for (const all of [seen, titles])
    if (new Set(all.values()).size > 1) found.push([...all].map(([name, what]) => `${name} sees ${what}`).join(', '))
  return found
}

/**
 * Whoever was away for longer than messages are kept shows behind the title that something is missing, and that may be a
 * newer one. The server may say of it that it was acknowledged: docs/decisions/0011.
 */
function mayMissTitle({ agedAt }: Past, items: readonly Item[]): boolean {
  const isTitle = (item: Item): boolean => item.kind === 'message' && item.content.kind === 'title'
  const since = items.slice(items.findLastIndex(isTitle) + 1)
  return agedAt > 0 && since.some((item) => item.kind === 'gap' && expiries.has(item.why))
}

const expiries: ReadonlySet<string> = new Set(['expired', 'acknowledged'])

/** Where a server has forgotten a title, its author tells it again: nobody does where no device of the author is there. 0009 */
function isForsaken(
  { forgotten, renames, phones }: Past,
  conversation: string,
  title: string | undefined,
  roster: readonly string[],
): boolean {
  const named = renames.find((each) => each.conversation === conversation && each.title === title)
  const isThere = phones.some((phone) => roster.includes(phone.id) && accountOf(phone) === named?.account)
  return forgotten.length > 0 && named !== undefined && !isThere
}

function whatIsSeen({ generation, epoch, authenticator, roster, owners }: View): string {
  const people = owners.map((owner) => toBase64url(owner).slice(0, 6)).sort()
  return `${generation}/${epoch} ${toBase64url(authenticator).slice(0, 8)}, ${roster.length} devices, owners ${people}`
}

/** What it takes to look at what a device has stored. */
async function keptBy({ store }: Phone): Promise<Parameters<typeof look>[0]> {
  const account = await registeredIn(store)
  const { account: own, serverKey } = account.identity
  const lists = new Lists({ own, serverKey, clock: systemClock, told: () => {} })
  const tools = { me: await meOf(account), lists, nowMs: Date.now, touched: () => {}, written: () => {} }
  return { store, tools }
}

function accountOf({ identity }: Phone): string {
  return toBase64url(identity.account)
}
