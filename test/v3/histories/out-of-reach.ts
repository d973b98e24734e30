import type { Item } from '@messageu/client'
import type { Entry } from './ledger.ts'
import type { Past, Said } from './past.ts'
import type { Phone } from './phone.ts'

/** Where something was accepted that somebody said. */
export interface Place {
  readonly sequence: number
  readonly generation: number
  readonly entry: Entry
}

/**
 * Whether a device could not open that when it came, and there is nobody who gives it: it asks its own devices, then the
 * authors, and no others. CONVERSATIONS C 9
 */
export function isOutOfReach(
  past: Past,
  said: Said,
  place: Place,
  { phone, items }: { phone: Phone; items: readonly Item[] },
): boolean {
  if (hasGiver(past, said, place, phone)) return false
  return hasMissedExpired(past, said, place, { phone, items }) || wasOnForgottenBranch(past, said, place, phone)
}

/**
 * Who is not there in the end has no author to ask, one whose device is gone does not have it, and none gives what was said
 * before it was begun anew, because who was there then is not known any more.
 */
function hasGiver(
  { phones, town: { ledger } }: Past,
  { conversation, by }: Said,
  { generation }: Place,
  phone: Phone,
): boolean {
  const last = ledger.inOrder(conversation, generation).findLast(([, { kind }]) => kind === 'commit')?.[1]
  const isNewest = ledger.generationsOf(conversation).at(-1) === generation
  const hasAuthor = !by.isDropped && isNewest && last?.kind === 'commit' && last.roster.includes(phone.id)
  return hasAuthor || phones.some((each) => each !== phone && each.person === phone.person && !each.isDropped)
}

/** Whoever was away for so long that a commit expired cannot open what follows it, and rejoins. CONVERSATIONS C 10 */
function hasMissedExpired(
  { agedAt, town: { ledger } }: Past,
  { conversation }: Said,
  { sequence, generation }: Place,
  { phone, items }: { phone: Phone; items: readonly Item[] },
): boolean {
  return ledger
    .inOrder(conversation, generation)
    .some(
      ([at, entry]) =>
        entry.kind === 'commit' &&
        entry.recorded <= agedAt &&
        at < sequence &&
        entry.roster.includes(phone.id) &&
        items.every((item) => item.sequence !== at),
    )
}

/**
 * Where others go on from the copy of a restored server, their branch is the conversation: docs/decisions/0009. Whoever has
 * read a commit that the server has forgotten has no keys of the epoch that another commit made in its place, nor of those
 * that follow, before it comes there by a commit of its own or is brought in again.
 */
function wasOnForgottenBranch(
  { town: { ledger } }: Past,
  { conversation }: Said,
  { sequence, generation, entry: { epoch: sealedIn } }: Place,
  phone: Phone,
): boolean {
  const commits = ledger
    .inOrder(conversation, generation)
    .flatMap(([at, entry]) => (entry.kind === 'commit' && at < sequence ? [entry] : []))
  return ledger.forgottenCommits(conversation, generation).some((forgotten) => {
    if (!forgotten.readers.has(phone.id) || sealedIn <= forgotten.epoch) return false
    const instead = commits.findIndex(({ epoch }) => epoch === forgotten.epoch)
    const since = instead < 0 ? [] : commits.slice(instead)
    const [first] = since
    if (first === undefined || first.recorded < forgotten.recorded || first.digest === forgotten.digest) return false
    return since.every(({ by, roster }) => by !== phone.id && roster.includes(phone.id))
  })
}
