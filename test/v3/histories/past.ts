import type { Phone } from './phone.ts'
import type { Town } from './town.ts'

/** Something that somebody wanted to say, and what they were told of it. */
export interface Said {
  readonly by: Phone
  readonly text: string
  readonly conversation: string
  readonly title: string
  /** How much the ledger knew when it was begun, and when it was accepted. */
  readonly begunAt: number
  acceptedAt?: number
  sequence?: number
}

/** An account has said that it leaves. */
export interface Departure {
  readonly conversation: string
  readonly account: string
  readonly recorded: number
}

/** An account has given a group another title. */
export interface Renaming {
  readonly conversation: string
  readonly title: string
  readonly account: string
}

/** What the server has forgotten of the ledger, by going on from a copy. */
export interface Forgotten {
  readonly from: number
  readonly through: number
}

/** What happened, for whoever judges it. */
export interface Past {
  readonly town: Town
  readonly phones: readonly Phone[]
  readonly said: readonly Said[]
  readonly titles: ReadonlyMap<string, string>
  readonly departures: readonly Departure[]
  readonly renames: readonly Renaming[]
  readonly forgotten: readonly Forgotten[]
  readonly agedAt: number
}

export function hasLeft(
  { departures }: Past,
  conversation: string,
  account: string,
  by = Number.POSITIVE_INFINITY,
): boolean {
  return departures.some(
    (each) => each.conversation === conversation && each.account === account && each.recorded <= by,
  )
}

/** What the server accepted in a conversation, for whoever looks for the cause. */
export function courseOf({ town: { ledger }, phones }: Past, conversation: string): string {
  const nameOf = (id: string): string => phones.find((each) => each.id === id)?.name ?? id.slice(0, 6)
  const lines = ledger.generationsOf(conversation).flatMap((generation) =>
    ledger.inOrder(conversation, generation).map(([sequence, entry]) => {
      const what = entry.kind === 'commit' ? `commit to ${entry.roster.map(nameOf).join(', ')}` : 'send'
      return `    ${sequence} ${generation}/${entry.epoch} by ${nameOf(entry.by)}: ${what}`
    }),
  )
  return lines.join('\n')
}
