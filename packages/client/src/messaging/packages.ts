import type { VerifiedList } from '@messageu/e2ee'
import { newKeyPackage } from '@messageu/e2ee/conversation'
import { dropRow, putRow, rowsOf } from '../rows.ts'
import type { Desk, Wait } from './desk.ts'
import { countersOf, putCounters } from './feed.ts'
import { messagingLimits as limits } from './limits.ts'
import { type PackageRow, packageRow } from './rows.ts'
import { write } from './writing.ts'

const suite = 'x25519'
const perRequest = 10

/**
 * Sees to it that others can bring this device into conversations: enough key packages at the server, and a last resort
 * that is not old. The private halves are stored before the server has anything. Protocol 3 §5.4
 */
export async function keepPackages(desk: Desk, { signal }: Wait): Promise<void> {
  const { me, lists } = desk.tools
  const list = await lists.newest(desk.store, me.self.account)
  if (list === undefined) return // nothing can be made before the first session has read it, and then it is asked for
  const { singleUse, hasLastResort } = await desk.session.request('count-packages', undefined, { signal })
  const { lastResortAt } = await countersOf(desk.store)
  const isOld = desk.clock.nowMs() - lastResortAt > limits.lastResortMs
  if (!hasLastResort || isOld) await publish(desk, list, { count: 1, isLastResort: true, signal })
  if (singleUse >= limits.packagesLow) return
  for (let missing = limits.packagesFull - singleUse; missing > 0; missing -= perRequest)
    await publish(desk, list, { count: Math.min(missing, perRequest), isLastResort: false, signal })
}

async function publish(
  desk: Desk,
  list: VerifiedList,
  { count, isLastResort, signal }: Wait & { count: number; isLastResort: boolean },
): Promise<void> {
  const { me } = desk.tools
  const now = desk.clock.nowMs()
  const made = await Promise.all(
    Array.from({ length: count }, () => newKeyPackage(me.self, list, { suite, isLastResort, now })),
  )
  signal.throwIfAborted()
  await write(desk, async ({ store }) => {
    for (const { ref, notAfter, keyPackage, privateKeys } of made)
      store.put(putRow(packageRow, ref, { isLastResort, madeAt: now, notAfter, keyPackage, privateKeys, welcomes: [] }))
    if (isLastResort) store.put(putCounters({ ...(await countersOf(store)), lastResortAt: now }))
  })
  await desk.session.publish(
    made.map(({ notAfter, keyPackage }) => ({ isLastResort, notAfter, keyPackage })),
    { signal },
  )
}

/**
 * What no Welcome can be for any more, once those that waited have come: a device may have been away for as long as its
 * packages were good, and a last resort is handed out until another one takes its place.
 */
export async function forgetOld(desk: Desk): Promise<void> {
  const now = desk.clock.nowMs()
  const kept: { key: Uint8Array; row: PackageRow }[] = []
  for await (const { key, row } of rowsOf(desk.store, packageRow)) if (typeof key !== 'number') kept.push({ key, row })
  const lastResorts = kept.filter(({ row }) => row.isLastResort).map(({ row }) => row.madeAt)
  const isReplaced = ({ isLastResort, madeAt }: PackageRow): boolean =>
    isLastResort && lastResorts.some((later) => later > madeAt && later + limits.lastResortGraceMs < now)
  const old = kept.filter(({ row }) => row.notAfter < now || isReplaced(row))
  if (old.length > 0)
    await write(desk, async ({ store }) => {
      for (const { key } of old) store.put(dropRow(packageRow, key))
    })
}
