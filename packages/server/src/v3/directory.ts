import {
  type AccountId,
  type AccountName,
  type ClaimedPackage,
  type DeviceId,
  type Invite,
  type KeyPackage,
  limits,
  type PublicKey,
  RefusedError,
  type Registration,
} from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { encodeAccount, type KnownAccount } from './accountrecords.ts'
import { Accounts, turnOfAccount } from './accounts.ts'
import { Calendar } from './calendar.ts'
import { ClaimQuota } from './claimquota.ts'
import type { DirectoryParts } from './directoryparts.ts'
import { Invites } from './invites.ts'
import { append, entriesAfter } from './lists.ts'
import { Names } from './names.ts'
import { KeyPackageStock, type PackageCount, turnOfPackages } from './packages.ts'
import { isPresent } from './person.ts'
import { register } from './registering.ts'
import type { Account, Clock, Device, Directory, Numbers, Policy, Random, Registered } from './services.ts'
import { Turns } from './turns.ts'

export interface DirectoryOptions {
  readonly archive: Archive
  readonly numbers: Numbers
  readonly clock: Clock
  readonly random: Random
  readonly policy: Policy
  readonly serverKey: PublicKey
}

/** The directory over an archive. Nothing is loaded before it is asked for, and only so much is held. */
export class ArchiveDirectory implements Directory {
  readonly #parts: DirectoryParts
  readonly #quota: ClaimQuota
  readonly #changeListeners: ((account: Account, delisted: readonly Device[]) => void)[] = []
  readonly #packagesLowListeners: ((device: Device, count: PackageCount) => void)[] = []

  constructor({ archive, numbers, clock, random, policy, serverKey }: DirectoryOptions) {
    const calendar = new Calendar(clock)
    const accounts = new Accounts(archive)
    this.#quota = new ClaimQuota(archive, calendar)
    this.#parts = {
      archive,
      accounts,
      names: new Names(archive, accounts),
      invites: new Invites(archive, calendar, random),
      packages: new KeyPackageStock(archive, calendar),
      numbers,
      turns: new Turns(),
      calendar,
      policy,
      serverKey,
    }
  }

  account(id: AccountId): Promise<Account | undefined> {
    return this.#parts.accounts.byId(id)
  }

  accountByNumber(number: number): Promise<Account | undefined> {
    return this.#parts.accounts.byNumber(number)
  }

  peekAccount(number: number): Account | undefined {
    return this.#parts.accounts.peek(number)
  }

  device(id: DeviceId): Promise<Device | undefined> {
    return this.#parts.accounts.device(id)
  }

  deviceByNumber(number: number): Promise<Device | undefined> {
    return this.#parts.accounts.deviceByNumber(number)
  }

  accountByName(name: AccountName): Promise<Account | undefined> {
    return this.#parts.names.find(name)
  }

  accountsAfter(name: AccountName | undefined, limit: number): Promise<readonly Account[]> {
    return this.#parts.names.accountsAfter(name, limit)
  }

  register(registration: Registration, also: Parameters<Directory['register']>[1]): Promise<Registered> {
    return register(this.#parts, registration, also)
  }

  async append(account: Account, entry: Uint8Array): Promise<void> {
    const known = this.#parts.accounts.known(account)
    const { isNew, delisted } = await append(this.#parts, known, entry)
    if (isNew) this.#changed(known, delisted)
  }

  entries(account: Account, after: number, limit: number): Promise<readonly Uint8Array[]> {
    return entriesAfter(this.#parts, account, after, limit)
  }

  publish(device: Device, keyPackages: readonly KeyPackage[]): Promise<PackageCount> {
    const { archive, packages, turns } = this.#parts
    return turns.take([turnOfPackages(device.account)], async () => {
      if (!device.isListed) throw new RefusedError('not-permitted', 'the device is no longer listed')
      const { objects, settle } = await packages.add(device, keyPackages)
      if (objects.length > 0) await archive.step({ objects })
      settle()
      return packages.count(device)
    })
  }

  countPackages(device: Device): Promise<PackageCount> {
    const { packages, turns } = this.#parts
    return turns.take([turnOfPackages(device.account)], () => packages.count(device))
  }

  claim(claimer: Account, account: Account, isContact: boolean): Promise<readonly ClaimedPackage[]> {
    const { archive, packages, turns } = this.#parts
    return turns.take([turnOfPackages(account)], async () => {
      if (!isPresent(account)) throw new RefusedError('not-permitted', 'no such account')
      const charged = await this.#quota.charge(claimer, account, isContact)
      const taken = await packages.take(account.devices)
      if (taken.packages.length === 0) return []
      await archive.step({ objects: [...charged, ...taken.objects] })
      taken.settle()
      for (const device of account.devices) await this.#warnIfLow(device)
      return taken.packages
    })
  }

  invite({ isAdmin }: { isAdmin: boolean }): Promise<{ invite: Invite; notAfter: number }> {
    return this.#parts.invites.make({ isAdmin })
  }

  async set(account: Account, change: { quotaBytes: number } | { isDisabled: boolean }): Promise<void> {
    const { accounts, archive, turns } = this.#parts
    const known = accounts.known(account)
    await turns.take([turnOfAccount(account.id)], async () => {
      const value = encodeAccount({ ...known, ...change })
      await archive.step({ objects: [{ kind: 'account', key: account.id, value }] })
      Object.assign(known, change)
    })
    if ('isDisabled' in change && change.isDisabled) this.#changed(known, [])
  }

  onChange(listener: (account: Account, delisted: readonly Device[]) => void): void {
    this.#changeListeners.push(listener)
  }

  onPackagesLow(listener: (device: Device, count: PackageCount) => void): void {
    this.#packagesLowListeners.push(listener)
  }

  #changed(account: KnownAccount, delisted: readonly Device[]): void {
    for (const listener of this.#changeListeners) listener(account, delisted)
  }

  async #warnIfLow(device: Device): Promise<void> {
    const count = await this.#parts.packages.count(device)
    if (count.singleUse < limits.keyPackagesLow)
      for (const listener of this.#packagesLowListeners) listener(device, count)
  }
}
