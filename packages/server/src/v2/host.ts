import type { ClientId, Request } from '@messageu/protocol/v2'
import type { Client, Storage } from '../storage.ts'
import type { Connection, Work } from './connection.ts'
import type { V2Limits } from './limits.ts'
import type { Slices } from './slices.ts'
import type { Turns } from './turns.ts'

/** What the operations of version 2 work with. */
export interface Services {
  readonly storage: Storage
  readonly limits: V2Limits
  readonly turns: Turns
  /** Contents that are on their way into or out of files. */
  readonly transfers: Budget
  /** Bytes of small contents that are being received. */
  readonly buffered: Budget
  /** Answers to what was committed. */
  readonly answers: Slices
  newClientId(): ClientId
  /** Whether registration hands out a login that is not the id in lists. */
  readonly privateIds: boolean
  fetched(outcome: FetchOutcome): void
}

export interface FetchOutcome {
  readonly messages: number
  readonly bytes: number
  readonly delivered: boolean
}

/**
 * Serves one kind of request: answers through the connection, now or later, or throws `ProtocolError`. `asker` is the
 * registered client whose id stood in the header.
 */
export type Operation<K extends Request['kind']> = (
  services: Services,
  request: Extract<Request, { kind: K }>,
  connection: Connection,
  asker: K extends 'register' | 'key' ? undefined : Client,
) => Work | undefined

/** So much of something, shared by everybody. */
export class Budget {
  readonly #max: number
  #used = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Takes a part that is to be disposed, or undefined if too little is left. */
  take(amount: number): Disposable | undefined {
    if (this.#used + amount > this.#max) return undefined
    this.#used += amount
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (held) this.#used -= amount
        held = false
      },
    }
  }
}
