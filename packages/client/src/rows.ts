import { Secret } from '@messageu/e2ee'
import {
  bool,
  bytes,
  type Codec,
  decode,
  encode,
  fixed,
  type Infer,
  list,
  mapped,
  named,
  optional,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
} from '@messageu/protocol'
import {
  Accepted,
  AccountId,
  ConversationId,
  DeviceId,
  Hash,
  Incarnation,
  ListEntry,
  PublicKey,
  limits as protocol,
  reasonCodes,
  SendId,
} from '@messageu/protocol/v3'
import { ClientError } from './errors.ts'
import type { Change, Key, Store, Table } from './store.ts'

/** What one row of a table says. Bytes that say nothing are damage: nobody but us writes them. */
export interface RowKind<T> {
  readonly table: Table
  readonly codec: Codec<T>
}

export async function getRow<T>(store: Store, kind: RowKind<T>, key: Key): Promise<T | undefined> {
  const value = await store.get(kind.table, key)
  return value === undefined ? undefined : readRow(kind, value)
}

export function readRow<T>({ table, codec }: RowKind<T>, value: Uint8Array): T {
  try {
    return decode(codec, value)
  } catch (cause) {
    throw new ClientError('damaged', `a row of ${table} is not what was stored`, { cause })
  }
}

export function putRow<T>({ table, codec }: RowKind<T>, key: Key, value: T): Change {
  return { table, key, value: encode(codec, value) }
}

export function dropRow({ table }: RowKind<unknown>, key: Key): Change {
  return { table, key, value: undefined }
}

// ─── who we are ───

const Seed = mapped(fixed(32), { from: (seed) => new Secret(seed), to: (secret: Secret) => secret.reveal() })

/** An account's public half and a device's secrets. The account key itself is never here. CONVERSATIONS A 1 */
const Identity = struct({
  host: text({ max: protocol.hostBytesMax }),
  port: u16,
  serverKey: PublicKey,
  account: AccountId,
  name: text({ max: protocol.nameBytesMax }),
  device: DeviceId,
  signatureSeed: Seed,
  requestSeed: Seed,
  /** Where this device may manage the account. */
  managerSeed: optional(Seed),
})
export type IdentityRow = Infer<typeof Identity>

export const accountRow = {
  table: 'account',
  codec: struct({ identity: Identity, isAdmin: bool, ownDevices: optional(ConversationId) }),
} as const
export type AccountRow = Infer<(typeof accountRow)['codec']>

/** A registration that was begun: the same bytes are sent until they are answered. */
export const registrationRow = {
  table: 'account',
  codec: struct({
    identity: Identity,
    accountKey: PublicKey,
    entry: bytes({ max: ListEntry.max }),
    ownDevices: ConversationId,
  }),
} as const
export type RegistrationRow = Infer<(typeof registrationRow)['codec']>

/** A recovery that was begun, likewise. */
export const recoveryRow = {
  table: 'account',
  codec: struct({ identity: Identity, accountKey: PublicKey, entry: bytes({ max: ListEntry.max }) }),
} as const
export type RecoveryRow = Infer<(typeof recoveryRow)['codec']>

export const accountKeys = { account: 0, registration: 1, recovery: 2 } as const

// ─── where sending and delivery stand ───

export const progressKeys = { sending: 0, delivery: 1, pins: 2 } as const
export const sendingRow = { table: 'progress', codec: struct({ nextNumber: u64 }) } as const
/** Everything up to `through` is stored; positions mean something within one incarnation only. Protocol 3 §3.1 */
export const deliveryRow = { table: 'progress', codec: struct({ incarnation: Incarnation, through: u64 }) } as const
export const pinCountRow = { table: 'progress', codec: struct({ count: u32 }) } as const

const outboxOperations = { send: 1, commit: 2 } as const
/** The finished bytes of a request that has no answer yet. Protocol 3 §6.5 */
export const outboxRow = {
  table: 'outbox',
  codec: struct({ operation: named(u8, outboxOperations), body: bytes({ max: protocol.frameBytesMax }) }),
} as const

/** What came of a send. */
export const answerRow = {
  table: 'answers',
  codec: struct({
    id: SendId,
    conversation: ConversationId,
    accepted: optional(Accepted),
    refused: optional(named(u16, reasonCodes)),
  }),
} as const

// ─── other accounts ───

/** The account that a name stood for when it was first seen. CONVERSATIONS A 5 */
export const pinRow = { table: 'pins', codec: struct({ account: AccountId }) } as const

/** A list as it was last verified: its entries, and the pair that every later one has to contain. Protocol 3 §4.5 */
export const listRow = {
  table: 'lists',
  codec: struct({
    version: u32,
    hash: Hash,
    entries: list(bytes({ max: ListEntry.max }), { max: protocol.listEntriesMax }),
  }),
} as const

export const alarmKinds = { 'other-account': 1, 'older-list': 2, 'forked-list': 3 } as const
export const alarmRow = {
  table: 'alarms',
  codec: struct({
    kind: named(u8, alarmKinds),
    /** Where it is known. */
    name: optional(text({ max: protocol.nameBytesMax })),
    account: AccountId,
    at: u64,
  }),
} as const
export type Alarm = Infer<(typeof alarmRow)['codec']>
