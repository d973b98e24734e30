import { utf8Encode } from '@messageu/protocol'
import { AccountId, type AccountName, skeletonOf } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { type KnownAccount, stored } from './accountrecords.ts'
import type { Accounts } from './accounts.ts'

/**
 * Who has which name. A name is kept under its skeleton for good, so that neither it nor one that looks like it is given
 * again; and in the order of names for as long as the account has not ended. Protocol 3 §4.2.
 */
export class Names {
  readonly #archive: Archive
  readonly #accounts: Accounts

  constructor(archive: Archive, accounts: Accounts) {
    this.#archive = archive
    this.#accounts = accounts
  }

  /** Whether this name, or one that looks like it, was ever given. */
  async isTaken(name: AccountName): Promise<boolean> {
    return (await this.#archive.get('name', skeletonKey(name))) !== undefined
  }

  /** Who has exactly this name, and has not ended. */
  async find(name: AccountName): Promise<KnownAccount | undefined> {
    const id = await this.#archive.get('name', skeletonKey(name))
    const account = id && (await this.#accounts.byId(stored(AccountId, id)))
    return account?.name === name && !account.list.isClosed ? account : undefined
  }

  /** In the order of the names' bytes. */
  async accountsAfter(name: AccountName | undefined, limit: number): Promise<readonly KnownAccount[]> {
    const after = name && utf8Encode(name)
    const found = await this.#archive.scan('nameOrder', { prefix: new Uint8Array(0), after, limit })
    const accounts = await Promise.all(found.map(({ value }) => this.#accounts.byId(stored(AccountId, value))))
    return accounts.filter((account) => account !== undefined)
  }
}

export function givenName({ id, name }: KnownAccount): ObjectChange[] {
  return [
    { kind: 'name', key: skeletonKey(name), value: id },
    { kind: 'nameOrder', key: utf8Encode(name), value: id },
  ]
}

/** The account has ended: its name is not shown any more, and stays taken. */
export function endedName({ name }: KnownAccount): ObjectChange[] {
  return [{ kind: 'nameOrder', key: utf8Encode(name), value: undefined }]
}

function skeletonKey(name: AccountName): Uint8Array {
  return utf8Encode(skeletonOf(name))
}
