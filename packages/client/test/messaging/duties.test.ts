import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { VerifiedList } from '@messageu/e2ee'
import type { View } from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { AccountId, DeviceId, Signature } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { dutiesOf, isNothing, split, type Word } from '../../src/messaging/duties.ts'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'

const accountAt = (i: number): AccountId => decode(AccountId, new Uint8Array(AccountId.max).fill(i + 1))
const deviceAt = (i: number, j: number): DeviceId => decode(DeviceId, new Uint8Array(DeviceId.max).fill(i * 16 + j + 1))
const numberOf = (id: Uint8Array): number => id[0] ?? 0

/** Some accounts, with the devices that each has on its list and those that it has here. */
const situations = fc.array(
  fc.record({
    listed: fc.uniqueArray(fc.integer({ min: 0, max: 5 })),
    here: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { minLength: 1 }),
    isKnown: fc.boolean(),
    hasLeft: fc.boolean(),
    isBack: fc.boolean(),
    isOwner: fc.boolean(),
  }),
  { minLength: 1, maxLength: 5 },
)
type Situation = typeof situations extends fc.Arbitrary<infer T> ? T : never

function viewOf(accounts: Situation): View {
  const members = accounts.flatMap(({ here }, i) =>
    here.map((j) => ({ account: accountAt(i), device: deviceAt(i, j) })),
  )
  const lists = accounts.map(({ isBack }, i) => ({ account: accountAt(i), since: isBack ? leftAt + 1 : leftAt }))
  const owners = accounts.flatMap(({ isOwner }, i) => (isOwner ? [accountAt(i)] : []))
  const roster = members.map(({ device }) => device)
  return { kind: 'group', generation: 1, members, roster, lists, owners, invited: [] } as unknown as View
}

function duties(accounts: Situation, own = accountAt(0)) {
  const newest = (account: AccountId): VerifiedList | undefined => {
    const i = numberOf(account) - 1
    const { isKnown, listed } = accounts[i] ?? { isKnown: false, listed: [] }
    if (!isKnown) return undefined
    return { account, devices: listed.map((j) => ({ device: deviceAt(i, j) })) } as unknown as VerifiedList
  }
  const departures: Word[] = accounts.flatMap(({ hasLeft }, i) =>
    hasLeft
      ? [{ account: accountAt(i), device: deviceAt(i, 0), generation: 1, epoch: leftAt, signature: nobodys, at: 0 }]
      : [],
  )
  return dutiesOf(viewOf(accounts), own, { newest, departures })
}

const leftAt = 5
const nobodys = decode(Signature, new Uint8Array(Signature.max))

describe('what members ought to do', () => {
  test('is to take off the devices that a known list has no more, and no others', () => {
    fc.assert(
      fc.property(situations, (accounts) => {
        const found = duties(accounts).delisted.map(({ device }) => numberOf(device))
        const wanted = accounts.flatMap(({ isKnown, listed, here }, i) =>
          here.filter((j) => isKnown && !listed.includes(j)).map((j) => numberOf(deviceAt(i, j))),
        )
        assert.deepEqual(found, wanted)
      }),
    )
  })

  test('is to bring in whoever has listed devices that are not here, unless the account has left for good', () => {
    fc.assert(
      fc.property(situations, (accounts) => {
        const found = duties(accounts).missing.map((account) => numberOf(account) - 1)
        const isMissing = ({ isKnown, listed, here, hasLeft, isBack }: Situation[number]): boolean =>
          isKnown && !(hasLeft && !isBack) && listed.some((j) => !here.includes(j))
        assert.deepEqual(
          found,
          accounts.flatMap((each, i) => (isMissing(each) ? [i] : [])),
        )
      }),
    )
  })

  test('is to take out who has left and was not brought back: an owner whoever it is, others where they can show it', () => {
    fc.assert(
      fc.property(situations, fc.integer({ min: 0, max: 4 }), (accounts, own) => {
        const found = duties(accounts, accountAt(own)).departed.map(({ account }) => numberOf(account) - 1)
        const canShow = ({ isKnown, listed, here }: Situation[number]): boolean =>
          isKnown && listed.includes(0) && here.includes(0)
        const wanted = accounts.flatMap((each, i) =>
          each.hasLeft && !each.isBack && (accounts[own]?.isOwner || canShow(each)) ? [i] : [],
        )
        assert.deepEqual(found, wanted)
      }),
    )
  })

  test('is parted into what is done at once and what others may do first, and nothing is forgotten', () => {
    fc.assert(
      fc.property(
        situations,
        fc.integer({ min: 0, max: 4 }),
        fc.boolean(),
        fc.boolean(),
        (accounts, own, isOwner, isOld) => {
          const all = duties(accounts)
          const nowMs = isOld ? limits.dutyDelayMaxMs : limits.dutyDelayMaxMs - 1
          const { atOnce, later } = split(all, { account: accountAt(own), isOwner, nowMs })
          assert.equal(atOnce.delisted.length + later.delisted.length, all.delisted.length)
          assert.equal(atOnce.missing.length + later.missing.length, all.missing.length)
          assert.deepEqual(isOwner || isOld ? atOnce.departed : later.departed, all.departed)
          assert.equal(atOnce.departed.length + later.departed.length, all.departed.length)
          assert.ok(later.missing.every((account) => numberOf(account) - 1 !== own))
          assert.equal(isNothing(all), isNothing(atOnce) && isNothing(later))
        },
      ),
    )
  })
})
