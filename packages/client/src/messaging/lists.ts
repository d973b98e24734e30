import { type VerifiedList, verifyList } from '@messageu/e2ee'
import type { KnownLists, ListRef } from '@messageu/e2ee/conversation'
import { type AccountId, type PublicKey, RefusedError, toBase64url } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { sameBytes } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { ClientError } from '../errors.ts'
import { readList } from '../lists.ts'
import { getRow, listRow } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { messagingLimits as limits } from './limits.ts'
import { isAlarmed, noteList, tellAlarm } from './noting.ts'

interface Reading {
  readonly asker: Asker
  readonly signal: AbortSignal
  /** What somebody said that the list is by now. */
  readonly told?: Omit<ListRef, 'account'>
}

/**
 * Device lists at exactly the versions that conversations refer to. What is held in memory was verified; the store holds
 * the entries. CONVERSATIONS C 4
 */
export class Lists {
  readonly #own: AccountId
  readonly #serverKey: PublicKey
  readonly #clock: Clock
  readonly #told: () => void
  readonly #held = new Map<string, VerifiedList>()
  /** By the account's id as text. */
  readonly #reading = new Map<string, Promise<unknown>>()

  constructor({
    own,
    serverKey,
    clock,
    told,
  }: { own: AccountId; serverKey: PublicKey; clock: Clock; told: () => void }) {
    this.#own = own
    this.#serverKey = serverKey
    this.#clock = clock
    this.#told = told
  }

  readonly known: KnownLists = ({ account, version }) => this.#held.get(nameOf(account, version))

  /** The newest list of an account that this device has seen. */
  async newest(store: Pick<RowStore, 'get'>, account: AccountId): Promise<VerifiedList | undefined> {
    const row = await getRow(store, listRow, account)
    return row && this.#hold(row, account, row.version)
  }

  /**
   * Makes the lists known that these refer to, and asks the server for what the store does not have. False if one of them
   * is not to be had: the server has another list, or none. The loss of the session is thrown.
   */
  async learn(store: RowStore, refs: readonly ListRef[], asker: Asker): Promise<boolean> {
    for (const ref of refs) if (!(await this.#learn(store, ref, asker))) return false
    return true
  }

  /**
   * The list of an account as it is now; `told` spares asking. Throws what is wrong with it. One reading of a list at a
   * time, so that what has changed is told once.
   */
  async refresh(store: RowStore, account: AccountId, options: Reading): Promise<VerifiedList> {
    const name = toBase64url(account)
    const earlier = this.#reading.get(name)?.catch(() => {})
    const reading = Promise.resolve(earlier).then(() => this.#refresh(store, account, options))
    this.#reading.set(name, reading)
    try {
      return await reading
    } finally {
      if (this.#reading.get(name) === reading) this.#reading.delete(name)
    }
  }

  async #refresh(store: RowStore, account: AccountId, { asker, signal, told }: Reading): Promise<VerifiedList> {
    const source = { asker, store, clock: this.#clock, serverKey: this.#serverKey, own: this.#own }
    const before = await this.newest(store, account)
    const knew = await isAlarmed(store, account)
    try {
      const list = await readList(source, account, { signal, known: before, ...(told && { told }) })
      this.#keep(list)
      await noteList(store, { before, list, at: this.#clock.nowMs() })
      this.#told()
      return list
    } catch (error) {
      const isAlarm = error instanceof ClientError && (error.reason === 'older-list' || error.reason === 'forked-list')
      if (isAlarm && !knew) await tellAlarm(store, { kind: error.reason, account, at: this.#clock.nowMs() })
      this.#told()
      throw error
    }
  }

  /** Reads the list of an account as it is now; false if there is no good one. */
  meet(store: RowStore, account: AccountId, asker: Asker): Promise<boolean> {
    return this.#fetch(store, account, asker)
  }

  async #learn(store: RowStore, { account, version, hash }: ListRef, asker: Asker): Promise<boolean> {
    const held = this.#held.get(nameOf(account, version))
    if (held !== undefined) return sameBytes(held.hash, hash)
    let row = await getRow(store, listRow, account)
    if (row === undefined || row.version < version) {
      if (!(await this.#fetch(store, account, asker))) return false
      row = await getRow(store, listRow, account)
    }
    const list = row && row.version >= version ? await this.#hold(row, account, version) : undefined
    if (list === undefined || !sameBytes(list.hash, hash)) return false
    // the program may have ended when the list was stored, and whose it is was not
    await noteList(store, { before: list, list, at: this.#clock.nowMs() })
    return true
  }

  async #fetch(store: RowStore, account: AccountId, asker: Asker): Promise<boolean> {
    try {
      await this.refresh(store, account, { asker, signal: never })
      return true
    } catch (error) {
      const isRefused = error instanceof RefusedError && error.retry === 'never'
      const isFalse = error instanceof ClientError && ['older-list', 'forked-list', 'bad-answer'].includes(error.reason)
      if (isRefused || isFalse) return false
      throw error
    }
  }

  async #hold(
    { entries }: { readonly entries: readonly Uint8Array[] },
    account: AccountId,
    version: number,
  ): Promise<VerifiedList> {
    const held = this.#held.get(nameOf(account, version))
    if (held !== undefined) return held
    const list = await verifyList(entries.slice(0, version), { account, serverKey: this.#serverKey })
    this.#keep(list)
    return list
  }

  #keep(list: VerifiedList): void {
    this.#held.set(nameOf(list.account, list.version), list)
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= limits.listsHeld) return
      this.#held.delete(oldest)
    }
  }
}

function nameOf(account: AccountId, version: number): string {
  return `${toBase64url(account)}/${version}`
}

const never = new AbortController().signal
