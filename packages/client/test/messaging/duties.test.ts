import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { VerifiedList } from '@messageu/e2ee'
import type { Departure, View } from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { AccountId, DeviceId, Signature } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { dutiesOf, isNothing, split } from '../../src/messaging/duties.ts'

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
  }),
  { minLength: 1, maxLength: 5 },
)
type Situation = typeof situations extends fc.Arbitrary<infer T> ? T : never

function viewOf(accounts: Situation): View {
  const members = accounts.flatMap(({ here }, i) =>
    here.map((j) => ({ account: accountAt(i), device: deviceAt(i, j) })),
  )
  const lists = accounts.map((_, i) => ({ account: accountAt(i) }))
  return { kind: 'group', members, roster: members.map(({ device }) => device), lists, invited: [] } as unknown as View
}

function duties(accounts: Situation) {
  const newest = (account: AccountId): VerifiedList | undefined => {
    const i = numberOf(account) - 1
    const { isKnown, listed } = accounts[i] ?? { isKnown: false, listed: [] }
    if (!isKnown) return undefined
    return { account, devices: listed.map((j) => ({ device: deviceAt(i, j) })) } as unknown as VerifiedList
  }
  const departures: Departure[] = accounts.flatMap(({ hasLeft }, i) =>
    hasLeft ? [{ account: accountAt(i), device: deviceAt(i, 0), epoch: 1, signature: nobodys }] : [],
  )
  return dutiesOf(viewOf(accounts), newest, departures)
}

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

  test('is to bring in whoever has listed devices that are not here, unless the account has left', () => {
    fc.assert(
      fc.property(situations, (accounts) => {
        const found = duties(accounts).missing.map((account) => numberOf(account) - 1)
        const isMissing = ({ isKnown, listed, here, hasLeft }: Situation[number]): boolean =>
          isKnown && !hasLeft && listed.some((j) => !here.includes(j))
        assert.deepEqual(
          found,
          accounts.flatMap((each, i) => (isMissing(each) ? [i] : [])),
        )
      }),
    )
  })

  test('is parted between the account that it concerns and the others, and nothing is forgotten', () => {
    fc.assert(
      fc.property(situations, fc.integer({ min: 0, max: 4 }), (accounts, own) => {
        const all = duties(accounts)
        const parts = split(all, accountAt(own))
        assert.equal(parts.own.delisted.length + parts.others.delisted.length, all.delisted.length)
        assert.equal(parts.own.missing.length + parts.others.missing.length, all.missing.length)
        assert.deepEqual(parts.own.departed, [])
        assert.ok(parts.others.missing.every((account) => numberOf(account) - 1 !== own))
        assert.equal(isNothing(all), isNothing(parts.own) && isNothing(parts.others) && all.departed.length === 0)
      }),
    )
  })
})
