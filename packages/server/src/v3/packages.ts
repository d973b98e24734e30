import assert from 'node:assert'
import { encode, ProtocolError, union } from '@messageu/protocol'
import { type ClaimedPackage, Hash, KeyPackage, limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { stored } from './accountrecords.ts'
import { keyOf } from './accounts.ts'
import type { Calendar } from './calendar.ts'
import { numberKey } from './numbers.ts'
import { Recent } from './recent.ts'
import type { Account, Device, Directory } from './services.ts'
import { sha256 } from './signatures.ts'

export type PackageCount = Awaited<ReturnType<Directory['countPackages']>>

/** A package, or what is left of one that was handed out: it must not come back by a repeated `publish`. */
const Row = union({ waiting: { tag: 1, body: KeyPackage }, claimed: { tag: 2, body: Hash } })

/** A place among the packages of a device; the rest of it is on disk. */
interface Slot {
  readonly order: number
  readonly digest: Hash
  readonly notAfter: number
}

/** What a device keeps here, the oldest first. */
interface Stock {
  readonly lastResort: Slot | undefined
  readonly singleUse: readonly Slot[]
  readonly claimed: readonly Slot[]
}

/** A change of stock, for the step that makes it durable. `settle` is called once it is. */
export interface StockChange {
  readonly objects: readonly ObjectChange[]
  readonly settle: () => void
}

export interface TakenPackages extends StockChange {
  readonly packages: readonly ClaimedPackage[]
}

/** The place of the package that is used again and again, among those of a device. */
export const lastResortOrder = 0
const slotsHeld = 100_000
const rowsAtOnce = 32
/** As many as one `publish` brings: its repetition finds all of them, whoever was faster. */
const claimedMax = limits.keyPackagesPerDeviceMax

/**
 * The key packages of devices. Whatever changes those of an account happens one after the other, in the turn of
 * `turnOfPackages`, until it is durable. Protocol 3 §5.4.
 */
export class KeyPackageStock {
  readonly #archive: Archive
  readonly #calendar: Calendar
  readonly #stocks = new Recent<Stock>(slotsHeld, ({ singleUse, claimed }) => 1 + singleUse.length + claimed.length)

  constructor(archive: Archive, calendar: Calendar) {
    this.#archive = archive
    this.#calendar = calendar
  }

  async count(device: Device): Promise<PackageCount> {
    const { singleUse, lastResort } = await this.#stockOf(device)
    return {
      singleUse: singleUse.filter((slot) => this.#isGood(slot)).length,
      hasLastResort: lastResort !== undefined && this.#isGood(lastResort),
    }
  }

  /** Throws `limited` when there would be too many. What is here already, or was until it was claimed, is passed over. */
  async add(device: Device, packages: readonly KeyPackage[]): Promise<StockChange> {
    const stock = await this.#stockOf(device)
    const lastResorts = packages.filter(({ isLastResort }) => isLastResort)
    if (lastResorts.length > 1) throw new ProtocolError('malformed', 'a device has one package of last resort')
    const good = stock.singleUse.filter((slot) => this.#isGood(slot))
    const known = new Set([...good, ...stock.claimed].map(({ digest }) => keyOf(digest)))
    const added: Slot[] = []
    const objects = this.#dropped(device, stock)
    let order = 1 + Math.max(lastResortOrder, ...[...stock.singleUse, ...stock.claimed].map((slot) => slot.order))
    for (const each of packages) {
      const digest = digestOf(each)
      if (!each.isLastResort && known.has(keyOf(digest))) continue
      const slot = { order: each.isLastResort ? lastResortOrder : order++, digest, notAfter: each.notAfter }
      known.add(keyOf(digest))
      added.push(slot)
      objects.push(put(device, slot, { kind: 'waiting', body: each }))
    }
    const singleUse = [...good, ...added.filter((slot) => slot.order !== lastResortOrder)]
    if (singleUse.length > limits.keyPackagesPerDeviceMax)
      throw new RefusedError('limited', `at most ${limits.keyPackagesPerDeviceMax} key packages are kept`)
    const lastResort = added.find((slot) => slot.order === lastResortOrder) ?? stock.lastResort
    return this.#change(objects, [[device, { ...stock, singleUse, lastResort }]])
  }

  /** One package of each device that has any: the oldest that is used once, else the last resort. */
  async take(devices: readonly Device[]): Promise<TakenPackages> {
    const packages: ClaimedPackage[] = []
    const objects: ObjectChange[] = []
    const next: [Device, Stock][] = []
    for (const device of devices) {
      const stock = await this.#stockOf(device)
      const [oldest, ...others] = stock.singleUse.filter((slot) => this.#isGood(slot))
      const slot = oldest ?? (stock.lastResort && this.#isGood(stock.lastResort) ? stock.lastResort : undefined)
      if (slot === undefined) continue
      packages.push(await this.#read(device, slot))
      if (oldest === undefined) continue
      const claimed = [...stock.claimed, oldest]
      objects.push(...this.#dropped(device, stock), put(device, oldest, { kind: 'claimed', body: oldest.digest }))
      objects.push(...claimed.slice(0, -claimedMax).map((old) => drop(device, old)))
      next.push([device, { ...stock, singleUse: others, claimed: claimed.slice(-claimedMax) }])
    }
    return { packages, ...this.#change(objects, next) }
  }

  /** All that devices have here, to be forgotten with them. */
  async clear(devices: readonly Device[]): Promise<StockChange> {
    const objects: ObjectChange[] = []
    for (const device of devices) {
      const { lastResort, singleUse, claimed } = await this.#stockOf(device)
      const slots = [...singleUse, ...claimed, ...(lastResort === undefined ? [] : [lastResort])]
      objects.push(...slots.map((slot) => drop(device, slot)))
    }
    return this.#change(
      objects,
      devices.map((device) => [device, noStock]),
    )
  }

  #change(objects: readonly ObjectChange[], next: readonly [Device, Stock][]): StockChange {
    return {
      objects,
      settle: () => {
        for (const [device, stock] of next) this.#stocks.set(String(device.number), stock)
      },
    }
  }

  async #stockOf(device: Device): Promise<Stock> {
    const held = this.#stocks.get(String(device.number))
    if (held !== undefined) return held
    const stock = await this.#load(device)
    this.#stocks.set(String(device.number), stock)
    return stock
  }

  async #load(device: Device): Promise<Stock> {
    let lastResort: Slot | undefined
    const singleUse: Slot[] = []
    const claimed: Slot[] = []
    let after: Uint8Array | undefined
    for (;;) {
      const rows = await this.#archive.scan('keyPackage', {
        prefix: numberKey(device.number),
        after,
        limit: rowsAtOnce,
      })
      for (const { key, value } of rows) {
        const order = orderIn(key)
        const row = stored(Row, value)
        if (row.kind === 'claimed') claimed.push({ order, digest: row.body, notAfter: 0 })
        else {
          const slot = { order, digest: digestOf(row.body), notAfter: row.body.notAfter }
          if (row.body.isLastResort) lastResort = slot
          else singleUse.push(slot)
        }
      }
      if (rows.length < rowsAtOnce) return { lastResort, singleUse, claimed }
      after = rows.at(-1)?.key
    }
  }

  async #read(device: Device, slot: Slot): Promise<ClaimedPackage> {
    const bytes = await this.#archive.get('keyPackage', keyOfSlot(device, slot))
    const row = bytes && stored(Row, bytes)
    assert(row?.kind === 'waiting', 'a package stays until it is claimed')
    const { isLastResort, keyPackage } = row.body
    return { device: device.id, isLastResort, keyPackage }
  }

  /** Packages that nobody gets any more. */
  #dropped(device: Device, { singleUse }: Stock): ObjectChange[] {
    return singleUse.filter((slot) => !this.#isGood(slot)).map((slot) => drop(device, slot))
  }

  #isGood({ notAfter }: Slot): boolean {
    return !this.#calendar.hasCome(notAfter)
  }
}

/** For whatever changes the key packages of an account's devices. */
export function turnOfPackages({ number }: Account): string {
  return `packages ${number}`
}

const noStock: Stock = { lastResort: undefined, singleUse: [], claimed: [] }

function put(device: Device, slot: Slot, row: Parameters<typeof Row.write>[1]): ObjectChange {
  return { kind: 'keyPackage', key: keyOfSlot(device, slot), value: encode(Row, row) }
}

function drop(device: Device, slot: Slot): ObjectChange {
  return { kind: 'keyPackage', key: keyOfSlot(device, slot), value: undefined }
}

function keyOfSlot(device: Device, { order }: Slot): Uint8Array {
  return numberKey(device.number, order)
}

function orderIn(key: Uint8Array): number {
  return Number(Buffer.from(key).readBigUInt64BE(8))
}

function digestOf({ keyPackage }: KeyPackage): Hash {
  return sha256(keyPackage) as Hash // 32 bytes
}
