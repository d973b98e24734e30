import assert from 'node:assert'
import { AccountId, DeviceId } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { decodeAccount, decodeDevice, type KnownAccount, type KnownDevice, stored } from './accountrecords.ts'
import { Living } from './living.ts'
import { numberKey } from './numbers.ts'
import { Recent } from './recent.ts'
import type { Account } from './services.ts'

/** Accounts, and devices that are no longer listed, held in memory without being used. */
const heldAccounts = 50_000
const heldFormerDevices = 10_000
/** Former devices that weigh as much as an account. */
const formerPerWeight = 8

/**
 * Accounts and devices in memory, loaded when they are asked for. There is one object of each while anybody holds it; an
 * account holds its listed devices, and a device its account.
 */
export class Accounts {
  readonly #archive: Archive
  readonly #byId = new Living<string, KnownAccount>()
  readonly #byNumber = new Living<number, KnownAccount>()
  readonly #devicesById = new Living<string, KnownDevice>()
  readonly #devicesByNumber = new Living<number, KnownDevice>()
  readonly #recent = new Recent<KnownAccount>(
    heldAccounts,
    ({ list }) => 1 + list.formerDevices.length / formerPerWeight,
  )
  readonly #recentFormer = new Recent<KnownDevice>(heldFormerDevices)
  readonly #loading = new Map<string, Promise<KnownAccount | undefined>>()
  /** Being registered: not to be found before it is durable, and then as this object. */
  readonly #forming = new Map<string, KnownAccount>()

  constructor(archive: Archive) {
    this.#archive = archive
  }

  async byId(id: AccountId): Promise<KnownAccount | undefined> {
    const key = keyOf(id)
    const living = this.#byId.get(key)
    if (living !== undefined) return this.#used(living)
    const loading = this.#loading.get(key) ?? this.#load(id).finally(() => this.#loading.delete(key))
    this.#loading.set(key, loading)
    return loading
  }

  /** What is in memory. */
  peek(number: number): KnownAccount | undefined {
    const living = this.#byNumber.get(number)
    return living && this.#used(living)
  }

  async byNumber(number: number): Promise<KnownAccount | undefined> {
    const living = this.peek(number)
    if (living !== undefined) return living
    const id = await this.#archive.get('accountNumber', numberKey(number))
    return id && this.byId(stored(AccountId, id))
  }

  /** A device that was ever listed. */
  async device(id: DeviceId): Promise<KnownDevice | undefined> {
    const living = this.#devicesById.get(keyOf(id))
    if (living !== undefined) return this.#usedBy(living)
    const bytes = await this.#archive.get('device', id)
    if (bytes === undefined) return undefined
    const { number, account: of, former } = decodeDevice(bytes)
    const account = await this.byId(of)
    assert(account, 'a device has an account')
    // listed ones came with the account; of the others somebody else may have been faster
    const known = this.#devicesById.get(keyOf(id))
    if (known !== undefined) return known
    assert(former, 'a device that is not on its list has a certificate of its own')
    const device: KnownDevice = { number, id, account, certificate: former, isListed: false }
    this.addDevice(device)
    this.keepFormer(device)
    return device
  }

  async deviceByNumber(number: number): Promise<KnownDevice | undefined> {
    const living = this.#devicesByNumber.get(number)
    if (living !== undefined) return this.#usedBy(living)
    const id = await this.#archive.get('deviceNumber', numberKey(number))
    return id && this.device(stored(DeviceId, id))
  }

  /** What the directory knows of an account that somebody has from it. */
  known({ id }: Account): KnownAccount {
    const known = this.#byId.get(keyOf(id)) ?? this.#forming.get(keyOf(id))
    assert(known, 'accounts come from the directory')
    return known
  }

  /** Runs the step that makes an account; from its success on the account is found. */
  async form(account: KnownAccount, step: () => Promise<unknown>): Promise<void> {
    const key = keyOf(account.id)
    this.#forming.set(key, account)
    try {
      await step()
      this.#add(account)
    } finally {
      this.#forming.delete(key)
    }
  }

  /** A device is known from now on, as this object. */
  addDevice(device: KnownDevice): void {
    this.#devicesById.add(keyOf(device.id), device)
    this.#devicesByNumber.add(device.number, device)
  }

  /** Its account does not hold a device any more: whoever is just looking for it still finds it. */
  keepFormer(device: KnownDevice): void {
    this.#recentFormer.set(keyOf(device.id), device)
  }

  async #load(id: AccountId): Promise<KnownAccount | undefined> {
    const bytes = await this.#archive.get('account', id)
    if (bytes === undefined) return undefined
    const key = keyOf(id)
    const account = this.#forming.get(key) ?? this.#byId.get(key) ?? decodeAccount(id, bytes)
    this.#add(account)
    return account
  }

  #add(account: KnownAccount): void {
    const key = keyOf(account.id)
    this.#recent.set(key, account)
    if (this.#byId.get(key) === account) return
    this.#byId.add(key, account)
    this.#byNumber.add(account.number, account)
    for (const device of account.devices) this.addDevice(device)
  }

  #used(account: KnownAccount): KnownAccount {
    this.#recent.set(keyOf(account.id), account)
    return account
  }

  #usedBy(device: KnownDevice): KnownDevice {
    this.#used(device.account)
    return device
  }
}

/** For whatever changes an account. */
export function turnOfAccount(id: AccountId): string {
  return `account ${keyOf(id)}`
}

/** For whoever gives an id to a device. */
export function turnOfDevice(id: DeviceId): string {
  return `device ${keyOf(id)}`
}

/** An id as a key of maps. */
export function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1')
}
