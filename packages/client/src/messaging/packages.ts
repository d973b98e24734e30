import type { VerifiedList } from '@messageu/e2ee'
import { newKeyPackage } from '@messageu/e2ee/conversation'
import { dropRow, putRow, rowsOf } from '../rows.ts'
import type { RowStore } from '../store.ts'
import type { Desk, Wait } from './desk.ts'
import { countersOf, putCounters } from './feed.ts'
import { messagingLimits as limits } from './limits.ts'
import { type PackageRow, packageRow } from './rows.ts'
import type { Work } from './work.ts'
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
  if (!hasLastResort || isOld) await replaceLastResort(desk, list, { signal })
  if (singleUse >= limits.packagesLow) return
  for (let missing = limits.packagesFull - singleUse; missing > 0; missing -= perRequest) {
    const made = await make(desk, list, { count: Math.min(missing, perRequest), isLastResort: false, signal })
    await publish(desk, made, { signal })
  }
}

/** It replaces the one before from when the server has said that it has it: until then that one is handed out. */
async function replaceLastResort(desk: Desk, list: VerifiedList, { signal }: Wait): Promise<void> {
  const { lastResortAt } = await countersOf(desk.store)
  const isYoung = ({ row }: Kept): boolean => row.madeAt + limits.lastResortMs >= desk.clock.nowMs()
  // of one that was made, and perhaps not taken, no second one is made: however often it fails, one more is kept in a week
  const [waiting] = (await lastResortsSince(desk.store, lastResortAt)).filter(isYoung)
  const offered = waiting ? [waiting.row] : await make(desk, list, { count: 1, isLastResort: true, signal })
  await publish(desk, offered, { signal })
  const now = desk.clock.nowMs()
  await write(desk, async ({ store }) => {
    const counters = await countersOf(store)
    if (counters.lastResortAt !== lastResortAt) return // a restored server knows nothing of it
    for (const { key, row } of await lastResortsSince(store, lastResortAt))
      store.put(putRow(packageRow, key, { ...row, madeAt: now }))
    store.put(putCounters({ ...counters, lastResortAt: now }))
  })
}

interface Kept {
  readonly key: Uint8Array
  readonly row: PackageRow
}

async function kept(store: RowStore): Promise<readonly Kept[]> {
  const found: Kept[] = []
  for await (const { key, row } of rowsOf(store, packageRow)) if (typeof key !== 'number') found.push({ key, row })
  return found
}

/** Those that the server may have and has not said so, the newest first. */
async function lastResortsSince(store: RowStore, at: number): Promise<readonly Kept[]> {
  const since = (await kept(store)).filter(({ row }) => row.isLastResort && row.madeAt > at)
  return since.sort((one, other) => other.row.madeAt - one.row.madeAt)
}

async function make(
  desk: Desk,
  list: VerifiedList,
  { count, isLastResort, signal }: Wait & { count: number; isLastResort: boolean },
): Promise<readonly PackageRow[]> {
  const { me } = desk.tools
  const now = desk.clock.nowMs()
  const made = await Promise.all(
    Array.from({ length: count }, async () => {
      const { ref, ...made } = await newKeyPackage(me.self, list, { suite, isLastResort, now })
      const row: PackageRow = { ...made, isLastResort, madeAt: now, welcomes: [] }
      return { ref, row }
    }),
  )
  signal.throwIfAborted()
  await write(desk, async ({ store }) => {
    for (const { ref, row } of made) store.put(putRow(packageRow, ref, row))
  })
  return made.map(({ row }) => row)
}

async function publish({ session }: Desk, packages: readonly PackageRow[], { signal }: Wait): Promise<void> {
  await session.publish(
    packages.map(({ isLastResort, notAfter, keyPackage }) => ({ isLastResort, notAfter, keyPackage })),
    { signal },
  )
}

/**
 * What no Welcome can be for any more, once those that waited have come: a device may have been away for as long as its
 * packages were good, and a last resort is handed out until another one takes its place.
 */
export async function forgetOld(desk: Desk): Promise<void> {
  const now = desk.clock.nowMs()
  const { lastResortAt } = await countersOf(desk.store)
  const all = await kept(desk.store)
  const taken = all.flatMap(({ row }) => (row.isLastResort && row.madeAt <= lastResortAt ? [row.madeAt] : []))
  const isReplaced = ({ isLastResort, madeAt }: PackageRow): boolean =>
    isLastResort && taken.some((later) => later > madeAt && later + limits.lastResortGraceMs < now)
  const old = all.filter(({ row }) => row.notAfter < now || isReplaced(row))
  if (old.length > 0)
    await write(desk, async ({ store }) => {
      for (const { key } of old) store.put(dropRow(packageRow, key))
    })
}

/** A restored server hands out the last resort of its copy until it is given another one. */
export async function noteForgottenPackages({ store }: Work): Promise<void> {
  store.put(putCounters({ ...(await countersOf(store)), lastResortAt: 0 }))
}
