import { bool, encode, type Infer, struct, u64 } from '@messageu/protocol'
import { contexts, type Invite, inContext, limits, RefusedError } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { stored } from './accountrecords.ts'
import { keyOf } from './accounts.ts'
import type { Calendar } from './calendar.ts'
import type { Random } from './services.ts'
import { sha256 } from './signatures.ts'

const InviteRecord = struct({ notAfter: u64, isAdmin: bool })
export type InviteRecord = Infer<typeof InviteRecord>

const inviteBytes = 16
/** Old ones that are looked for whenever a new one is made. */
const sweptAtOnce = 16

/** Invites by their hash, until they are used. Protocol 3 §9.3. */
export class Invites {
  readonly #archive: Archive
  readonly #calendar: Calendar
  readonly #random: Random
  #sweptTo: Uint8Array | undefined

  constructor(archive: Archive, calendar: Calendar, random: Random) {
    this.#archive = archive
    this.#calendar = calendar
    this.#random = random
  }

  async make({ isAdmin }: { isAdmin: boolean }): Promise<{ invite: Invite; notAfter: number }> {
    const old = await this.#sweep()
    const invite = this.#random(inviteBytes) as Invite // as many bytes as one has
    const notAfter = this.#calendar.after(limits.inviteMs)
    const made: ObjectChange = {
      kind: 'invite',
      key: keyOfInvite(invite),
      value: encode(InviteRecord, { notAfter, isAdmin }),
    }
    await this.#archive.step({ objects: [...old, made] })
    return { invite, notAfter }
  }

  /** Throws `bad-invite` for one that is unknown, used or too old. */
  async find(invite: Invite): Promise<InviteRecord> {
    const bytes = await this.#archive.get('invite', keyOfInvite(invite))
    const record = bytes && stored(InviteRecord, bytes)
    if (record === undefined || this.#calendar.hasCome(record.notAfter))
      throw new RefusedError('bad-invite', 'the invite is unknown, used or too old')
    return record
  }

  /** Some of those that are too old, to be forgotten. */
  async #sweep(): Promise<ObjectChange[]> {
    const range = { prefix: new Uint8Array(0), after: this.#sweptTo, limit: sweptAtOnce }
    const found = await this.#archive.scan('invite', range)
    this.#sweptTo = found.length < sweptAtOnce ? undefined : found.at(-1)?.key
    return found
      .filter(({ value }) => this.#calendar.hasCome(stored(InviteRecord, value).notAfter))
      .map(({ key }) => ({ kind: 'invite', key, value: undefined }))
  }
}

export function usedInvite(invite: Invite): ObjectChange {
  return { kind: 'invite', key: keyOfInvite(invite), value: undefined }
}

/** For whoever has to use an invite alone. */
export function turnOfInvite(invite: Invite): string {
  return `invite ${keyOf(keyOfInvite(invite))}`
}

function keyOfInvite(invite: Invite): Uint8Array {
  return sha256(inContext(contexts.invite, invite))
}
