import type { Arrival, Item } from '@messageu/client'
import { toBase64url } from '@messageu/protocol/v3'
import { disagreements } from './disagreements.ts'
import type { Entry, Ledger } from './ledger.ts'
import { leftovers, pendingOf } from './leftovers.ts'
import { isOutOfReach, type Place } from './out-of-reach.ts'
import { courseOf, hasLeft, type Past, type Said } from './past.ts'
import type { Phone } from './phone.ts'

type Histories = ReadonlyMap<Phone, ReadonlyMap<string, readonly Item[]>>

/**
 * Everything that is wrong, in words: by what the senders were told, what went over the wire, and what the users were
 * shown. I1 to I3 of the catalogue; that all have come to the same; and that the server keeps nothing more.
 */
export async function wrongs(past: Past): Promise<readonly string[]> {
  const { phones, said, town } = past
  const alive = phones.filter(({ isDropped }) => !isDropped)
  const histories = await historiesOf(alive)
  const pending = await pendingOf(past, alive)
  return [
    ...phones.flatMap(shownTwice),
    ...alive.flatMap(({ name, ends }) => ends.map(({ message }) => `a session of ${name} ended: ${message}`)),
    ...said.flatMap((each) =>
      alive.flatMap((phone) => wrongWith(past, each, phone, histories.get(phone)?.get(each.conversation) ?? [])),
    ),
    ...[...past.titles.keys()].flatMap((conversation) => otherOrders(past, conversation, histories)),
    ...missing(past, histories),
    ...phones.flatMap((phone) => alarmsOf(past, phone)),
    ...(await disagreements(past, alive, pending)),
    ...leftovers(past, await town.waiting(), pending),
  ]
}

async function historiesOf(phones: readonly Phone[]): Promise<Histories> {
  const histories = new Map<Phone, Map<string, readonly Item[]>>()
  for (const phone of phones) {
    const all = new Map<string, readonly Item[]>()
    for await (const { conversation } of phone.client.conversations())
      all.set(toBase64url(conversation), await phone.historyOf(conversation))
    histories.set(phone, all)
  }
  return histories
}

function wrongWith(past: Past, said: Said, phone: Phone, items: readonly Item[]): string[] {
  const count = items.filter((item) => textOf(item) === said.text).length
  const what = `"${said.text}" of ${said.title}`
  if (count > 1) return [`${phone.name} has ${what} ${count} times (I2)`]
  const place = placeOf(past.town.ledger, said)
  if (place === undefined) return []
  const standing = isOutOfReach(past, said, place, { phone, items }) ? 'may' : standingOf(past, said, place, phone)
  const course = (): string => `\n${courseOf(past, said.conversation)}`
  if (standing === 'must' && count === 0)
    return [
      `${phone.name} lacks ${what} at ${place.generation}/${place.sequence} (I1): ${whatIsAt(items, place.sequence)}${course()}`,
    ]
  const isForOthers = standing === 'must-not' && count > 0
  return isForOthers ? [`${phone.name} has ${what}, which was for others${course()}`] : []
}

function placeOf(ledger: Ledger, { conversation, sequence, by, acceptedAt }: Said): Place | undefined {
  if (sequence === undefined || acceptedAt === undefined) return undefined
  const isIt = (entry: Entry | undefined): entry is Entry =>
    entry?.kind === 'send' && entry.by === by.id && entry.recorded <= acceptedAt
  for (const generation of ledger.generationsOf(conversation).toReversed()) {
    const entry = ledger.of(conversation, generation).get(sequence)
    if (isIt(entry)) return { sequence, generation, entry }
  }
  return undefined
}

/** Whether that has to be on a device, may be, or must not be. */
function standingOf(
  past: Past,
  said: Said,
  { sequence, generation, entry }: Place,
  phone: Phone,
): 'must' | 'may' | 'must-not' {
  const { town, phones, agedAt } = past
  if (isForgotten(past, said) || entry.recorded <= agedAt) return 'may'
  if (phone === said.by) return 'must'
  if (hasLeft(past, said.conversation, toBase64url(phone.identity.account), entry.recorded)) return 'may'
  const commits = town.ledger
    .inOrder(said.conversation, generation)
    .flatMap(([at, each]) => (each.kind === 'commit' && at < sequence ? [each] : []))
  let since: number | undefined
  for (const { roster, epoch } of commits) since = roster.includes(phone.id) ? (since ?? epoch + 1) : undefined
  if (since !== undefined && since <= entry.epoch) return 'must'
  const own = phones.filter(({ person }) => person === phone.person)
  const wasAccountThere = own.some(({ id }) => commits.some(({ roster }) => roster.includes(id)))
  return wasAccountThere || said.by.person === phone.person ? 'may' : 'must-not'
}

/** The server may not know of it any more, and may have taken it twice. */
function isForgotten({ forgotten }: Past, { begunAt, acceptedAt = Number.POSITIVE_INFINITY }: Said): boolean {
  return forgotten.some(({ from, through }) => begunAt <= through && acceptedAt > from)
}

function otherOrders(past: Past, conversation: string, histories: Histories): string[] {
  const placed = new Set(past.said.filter((said) => !isForgotten(past, said)).map(({ text }) => text))
  const orders = [...histories].map(([phone, all]) => ({
    phone,
    texts: (all.get(conversation) ?? []).flatMap((item) => textOf(item) ?? []).filter((text) => placed.has(text)),
  }))
  return orders.flatMap((one, i) =>
    orders.slice(i + 1).flatMap((other) => {
      const [mine, theirs] = [new Set(one.texts), new Set(other.texts)]
      const [first, second] = [
        one.texts.filter((text) => theirs.has(text)),
        other.texts.filter((text) => mine.has(text)),
      ]
      if (first.join() === second.join()) return []
      const title = past.titles.get(conversation)
      return [`${one.phone.name} and ${other.phone.name} have another order in ${title} (I3):\n  ${first}\n  ${second}`]
    }),
  )
}

/** Places that nothing excuses: neither time that went by, nor a server that has forgotten. */
function missing(past: Past, histories: Histories): string[] {
  if (past.agedAt > 0 || past.forgotten.length > 0) return []
  return [...histories].flatMap(([phone, all]) =>
    [...all].flatMap(([conversation, items]) =>
      items.flatMap((item) => {
        if (item.kind !== 'gap' && item.kind !== 'unopened') return []
        const why = item.kind === 'gap' ? item.why : item.reason
        const where = `${item.sequence} of ${past.titles.get(conversation)}`
        return [`${phone.name} has ${item.kind} at ${where}: ${why} (I1)\n${courseOf(past, conversation)}`]
      }),
    ),
  )
}

/** What nobody may be told of among honest people; what was refused because somebody was taken out meanwhile is fine. */
function alarmsOf({ forgotten }: Past, { name, shown }: Phone): string[] {
  const wasRestored = forgotten.length > 0
  return shown.flatMap((item) => {
    if (item.kind !== 'told') return []
    const { told } = item
    // until its owner has given it back, a restored server does show an old list
    const isOlder = told.kind === 'alarm' && told.body.kind === 'older-list'
    if (wasRestored && (told.kind === 'differs' || isOlder)) return []
    const isAlarm = ['fork', 'alarm', 'package', 'differs'].includes(told.kind)
    return isAlarm ? [`${name} is told of ${told.kind}${told.kind === 'alarm' ? `: ${told.body.kind}` : ''}`] : []
  })
}

/** Within one run nothing is shown twice; what a killed run had shown last may come once more. */
function shownTwice({ name, runs }: Phone): string[] {
  const seen = new Set<string>()
  const found: string[] = []
  let repeatable = new Set<string>()
  for (const { batches, wasKilled } of runs) {
    for (const text of batches.flat().flatMap((arrival) => textOf(arrival) ?? [])) {
      if (seen.has(text) && !repeatable.delete(text)) found.push(`${name} shows "${text}" twice (I2)`)
      seen.add(text)
    }
    if (wasKilled) repeatable = new Set((batches.at(-1) ?? []).flatMap((arrival) => textOf(arrival) ?? []))
  }
  return found
}

function whatIsAt(items: readonly Item[], sequence: number): string {
  const there = items.find((item) => item.sequence === sequence)
  if (there === undefined) return `nothing is there, of ${items.length} up to ${items.at(-1)?.sequence}`
  return `${there.kind} ${'reason' in there ? there.reason : ''}`
}

function textOf(arrival: Arrival): string | undefined {
  return arrival.kind === 'message' && arrival.content.kind === 'text' ? arrival.content.body.text : undefined
}
