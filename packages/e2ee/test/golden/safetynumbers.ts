import { type SafetyIdentity, safetyNumber } from '../../src/safetynumber.ts'
import { testAccount } from '../account.ts'
import { toHex } from '../hex.ts'

export async function safetyVectors() {
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((name) => testAccount(name)))
  if (alice === undefined || bob === undefined || carol === undefined) throw new Error('three accounts are three')
  const pairs = [
    [alice, bob],
    [bob, carol],
    [carol, alice],
  ] as const
  const side = ({ account, accountKey }: SafetyIdentity) => ({ account: toHex(account), accountKey: toHex(accountKey) })
  return {
    title: 'safety numbers',
    valid: pairs.map(([{ list: one }, { list: other }]) => {
      const { digits, payload } = safetyNumber(one, other)
      return { one: side(one), other: side(other), digits, payload: toHex(payload) }
    }),
  }
}
