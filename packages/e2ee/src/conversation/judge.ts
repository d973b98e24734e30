import type { AccountId, DeviceId, ListedDevice } from '@messageu/protocol/v3'
import { compareBytes, sameBytes } from '../bytes.ts'
import { verifySignature } from '../signing.ts'
import { mustHold } from './errors.ts'
import { certificateOn, type KnownLists, listAt, mustContinue, standingOf } from './lists.ts'
import { type Claim, hasAccount, type Leaf, type Member, memberOf } from './members.ts'
import { hasAny, mustMayAdd, mustMayRemove, mustMayRule } from './rules.ts'
import {
  type CommitNote,
  type ConversationRules,
  departureOf,
  type GroupId,
  type Standing,
  type Standings,
} from './shared.ts'
import { devicesMax, type Suite } from './suites.ts'

/** A commit as it is judged: without the engine's keys and paths. */
export type Change =
  | { readonly kind: 'update' }
  | { readonly kind: 'add'; readonly joining: readonly Claim[] }
  | { readonly kind: 'remove'; readonly leaving: readonly Member[] }
  | { readonly kind: 'rules'; readonly rules: ConversationRules }
  | { readonly kind: 'rejoin'; readonly joining: Claim; readonly replaced: Member | undefined }

/** What all members know before the commit. */
export interface Situation {
  readonly suite: Suite
  readonly id: GroupId
  readonly epoch: number
  readonly rules: ConversationRules
  readonly members: readonly Member[]
  readonly standings: Standings
}

/** What has to come out of it. */
export interface Judgement {
  readonly rules: ConversationRules
  readonly standings: Standings
  readonly staying: readonly Member[]
  readonly arriving: readonly Omit<Member, 'leaf'>[]
}

/**
 * What the change leads to if it is allowed: by the rules, by the lists that the note names, and by nothing that a
 * member might not have. Throws `forbidden`, `list` or `limit`. Protocol 3 §6.10
 */
export async function judge(
  situation: Situation,
  { change, by, note }: { change: Change; by: AccountId; note: Pick<CommitNote, 'lists' | 'departures'> },
  lists: KnownLists,
): Promise<Judgement> {
  const used = new UsedLists(situation, note, lists)
  used.mustBeAbout(accountsTouchedBy(change))
  const departed = await departedAccounts(situation, note, used)
  const { rules, members } = situation
  const joining = change.kind === 'add' ? change.joining : change.kind === 'rejoin' ? [change.joining] : []
  const leaving = leavingBy(change)
  const staying = members.filter((member) => !leaving.includes(member))
  const arriving = joining.map((claim) => used.admit(claim))

  switch (change.kind) {
    case 'update':
      break
    case 'add':
      for (const { account } of arriving) mustMayAdd(situation, { by, account })
      break
    case 'remove':
      for (const { account, device } of leaving)
        mustMayRemove(situation, {
          by,
          of: account,
          isListed: used.isListed(account, device),
          hasDeparted: hasAny(departed, account),
        })
      break
    case 'rules':
      mustMayRule(situation, { by, after: change.rules })
      break
    case 'rejoin':
      mustMayRejoin(members, change, used)
  }
  mustBeDistinct(staying, arriving)
  mustHold(
    staying.length + arriving.length <= devicesMax[situation.suite],
    'limit',
    `more than ${devicesMax[situation.suite]} devices`,
  )
  const after = change.kind === 'rules' ? change.rules : rules
  return {
    rules: after,
    standings: used.standingsAfter([...staying, ...arriving], after),
    staying,
    arriving,
  }
}

/** The accounts whose lists decide about a change: each once, in no order. */
export function accountsTouchedBy(change: Change): readonly AccountId[] {
  const accounts: AccountId[] = []
  const touch = (account: AccountId) => {
    if (!hasAny(accounts, account)) accounts.push(account)
  }
  if (change.kind === 'add') for (const { identity } of change.joining) touch(identity.list.account)
  if (change.kind === 'rejoin') touch(change.joining.identity.list.account)
  if (change.kind === 'remove') for (const { account } of change.leaving) touch(account)
  return accounts
}

/** Throws `roster` or `keys` unless the leaves are exactly what the judgement says; the members that they are. */
export function membersAfter({ staying, arriving }: Judgement, leaves: readonly Leaf[]): readonly Member[] {
  const expected = [...staying, ...arriving]
  mustHold(leaves.length === expected.length, 'roster', 'the tree has other leaves than the commit says')
  return leaves.map(({ leaf, identity, signatureKey }) => {
    const member = expected.find(({ device }) => sameBytes(device, identity.device))
    mustHold(member !== undefined, 'roster', 'the tree has a leaf that the commit does not speak of')
    mustHold(sameBytes(member.account, identity.list.account), 'roster', 'a leaf has changed its account')
    mustHold(sameBytes(member.signatureKey, signatureKey), 'keys', 'a leaf has changed its signature key')
    mustHold(!('leaf' in member) || member.leaf === leaf, 'roster', 'a device has changed its leaf')
    return { ...member, leaf }
  })
}

function leavingBy(change: Change): readonly Member[] {
  if (change.kind === 'remove') return change.leaving
  return change.kind === 'rejoin' && change.replaced !== undefined ? [change.replaced] : []
}

/** Own old leaf, or one of the same account whose device is on the list no more; nothing else goes by rejoining. §6.10 */
function mustMayRejoin(
  members: readonly Member[],
  { joining, replaced }: Extract<Change, { kind: 'rejoin' }>,
  used: UsedLists,
): void {
  const { device, list } = joining.identity
  mustHold(hasAccount(members, list.account), 'forbidden', 'only a device of an account that is here rejoins')
  if (replaced === undefined) return
  mustHold(sameBytes(replaced.account, list.account), 'forbidden', "another account's device is not replaced")
  mustHold(
    sameBytes(replaced.device, device) || !used.isListed(replaced.account, replaced.device),
    'forbidden',
    'a sibling on the list is not replaced',
  )
}

function mustBeDistinct(staying: readonly Member[], arriving: readonly Omit<Member, 'leaf'>[]): void {
  arriving.forEach(({ device, signatureKey }, i) => {
    const others = [...staying, ...arriving.slice(0, i)]
    mustHold(!others.some((other) => sameBytes(other.device, device)), 'forbidden', 'the device is here already')
    mustHold(!others.some((other) => sameBytes(other.signatureKey, signatureKey)), 'keys', 'two leaves have one key')
  })
}

/** The accounts for which a device has said that they leave, since they came. Throws `unverifiable` or `forbidden`. */
async function departedAccounts(
  { id, members, standings, epoch }: Situation,
  { departures }: Pick<CommitNote, 'departures'>,
  used: UsedLists,
): Promise<readonly AccountId[]> {
  for (const { account, device, epoch: at, signature } of departures) {
    const standing = standingOf(standings, account)
    mustHold(standing !== undefined && at >= standing.since && at <= epoch, 'forbidden', 'the departure is an old one')
    const speaker = memberOf(members, device)
    mustHold(speaker !== undefined && sameBytes(speaker.account, account), 'forbidden', 'nobody here said so')
    mustHold(used.isListed(account, device), 'list', 'the device that speaks for its account is not on its list')
    const message = departureOf({ group: id, epoch: at, account, device })
    mustHold(
      await verifySignature(speaker.requestKey, message, signature),
      'unverifiable',
      'the signature of a departure does not hold',
    )
  }
  return departures.map(({ account }) => account)
}

/** The lists that a note names, each at least as new as the last one used here. */
class UsedLists {
  readonly #situation: Situation
  readonly #refs: CommitNote['lists']
  readonly #lists: KnownLists

  constructor(situation: Situation, { lists }: Pick<CommitNote, 'lists'>, known: KnownLists) {
    this.#situation = situation
    this.#refs = lists
    this.#lists = known
    for (const ref of lists) {
      const standing = standingOf(situation.standings, ref.account)
      if (standing !== undefined) mustContinue(listAt(known, ref), standing)
    }
  }

  mustBeAbout(accounts: readonly AccountId[]): void {
    mustHold(
      accounts.length === this.#refs.length && this.#refs.every(({ account }) => hasAny(accounts, account)),
      'list',
      'the lists in the note are not those of the accounts that it touches',
    )
  }

  isListed(account: AccountId, device: DeviceId): boolean {
    return this.#listOf(account).devices.some((listed) => sameBytes(listed.device, device))
  }

  /** The member that a newcomer becomes. */
  admit(claim: Claim): Omit<Member, 'leaf'> {
    const { account } = claim.identity.list
    const list = this.#listOf(account)
    mustContinue(list, claim.identity.list)
    const { device, signatureKey, requestKey }: ListedDevice = certificateOn(list, claim.identity, claim.signatureKey)
    return { account, device, signatureKey, requestKey }
  }

  /** Of a group, those stay as well that were invited, have been here, and are out: they are awaited no more. */
  standingsAfter(after: readonly Pick<Member, 'account'>[], { kind, invited }: ConversationRules): Standings {
    const { members, standings, epoch } = this.#situation
    const touched = this.#refs.map((ref): Standing => {
      const since = hasAccount(members, ref.account) ? standingOf(standings, ref.account)?.since : undefined
      return { ...ref, since: since ?? epoch + 1 }
    })
    const untouched = standings.filter(({ account }) => standingOf(touched, account) === undefined)
    return [...untouched, ...touched]
      .filter(({ account }) => hasAccount(after, account) || (kind === 'group' && hasAny(invited, account)))
      .sort((one, other) => compareBytes(one.account, other.account))
  }

  #listOf(account: AccountId) {
    const ref = this.#refs.find((each) => sameBytes(each.account, account))
    mustHold(ref !== undefined, 'list', 'the note names no list of an account that it touches')
    return listAt(this.#lists, ref)
  }
}
