import { type VerifiedList, verifyList } from '@messageu/e2ee'
import { type ConversationReason, type LocalDevice, newKeyPackage } from '@messageu/e2ee/conversation'
import type { DeviceId } from '@messageu/protocol/v3'
import { longLivedPackage } from '../../../e2ee/test/conversation/forge.ts'
import { meOf } from '../../src/messaging/reader.ts'
import type { AccountRow } from '../../src/rows.ts'
import { done, type FakeServer } from '../fake-server.ts'
import { entriesOf } from './false-lists.ts'
import { flipped } from './spoiling.ts'

/** A device that makes key packages as its own program does. */
export interface Maker {
  readonly self: LocalDevice
  readonly list: VerifiedList
  readonly now: number
}

interface Bad {
  /** What the user is told that is wrong with it. */
  readonly reason: ConversationReason
  readonly make: (bob: Maker, carol: Maker) => Promise<Uint8Array>
}

const dayMs = 86_400_000
const suite = 'x25519'

async function made({ self, list, now }: Maker, options: Partial<Parameters<typeof newKeyPackage>[2]> = {}) {
  return (await newKeyPackage(self, list, { suite, now, ...options })).keyPackage
}

/** What a server may hand out for Bob's device. S08 */
export const badPackages: Readonly<Record<string, Bad>> = {
  'one that is long expired': { reason: 'expired', make: (bob) => made(bob, { now: bob.now - 200 * dayMs }) },
  'one that is good only years from now': {
    reason: 'expired',
    make: (bob) => made(bob, { now: bob.now + 2_000 * dayMs }),
  },
  'one that lives longer than any may': {
    reason: 'long-lived',
    make: ({ self, list, now }) => longLivedPackage(self, list, { suite, now }),
  },
  'one of another account': { reason: 'other-account', make: (_bob, carol) => made(carol) },
  'one of another suite': { reason: 'other-suite', make: (bob) => made(bob, { suite: 'x-wing' }) },
  'one whose signature is altered': { reason: 'unverifiable', make: async (bob) => flipped(await made(bob)) },
  garbage: { reason: 'malformed', make: async () => new Uint8Array(300).fill(3) },
}

export async function makerOf(server: FakeServer, account: AccountRow, now: number): Promise<Maker> {
  const { self } = await meOf(account)
  return { self, list: await verifyList(entriesOf(server, self.account)), now }
}

/** Whoever asks for key packages is given these, as those of one device. */
export function handOut(server: FakeServer, device: DeviceId, packages: readonly Uint8Array[]): void {
  const claimed = packages.map((keyPackage) => ({ device, isLastResort: false, keyPackage }))
  server.lie = (name) => (name === 'claim' ? { kind: 'answer', body: done('claim', claimed) } : undefined)
}
