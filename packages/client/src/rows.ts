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
  AccountId,
  ConversationId,
  DeviceId,
  Hash,
  Incarnation,
  ListEntry,
  PublicKey,
  limits as protocol,
} from '@messageu/protocol/v3'
import { ClientError } from './errors.ts'
import type { Change, Key, Store, Table } from './store.ts'

/** What one row of a table says. Bytes that say nothing are damage: nobody but us writes them. */
export interface RowKind<T> {
  readonly table: Table
  readonly codec: Codec<T>
}

export async function getRow<T>(store: Pick<Store, 'get'>, kind: RowKind<T>, key: Key): Promise<T | undefined> {
  const value = await store.get(kind.table, key)
  if (value === undefined) return undefined
  const before = known.get(value)
  if (before?.codec === kind.codec) return before.row as T // what this very codec made of them
  const row = readRow(kind, value)
  known.set(value, { codec: kind.codec, row })
  return row
}

/**
 * What bytes were decoded to, for as long as somebody holds them: a row that every message needs is decoded once for each
 * time that it is written. Neither the bytes nor what they say is ever changed.
 */
const known = new WeakMap<Uint8Array, { readonly codec: object; readonly row: unknown }>()

export function readRow<T>({ table, codec }: RowKind<T>, value: Uint8Array): T {
  try {
    return decode(codec, value)
  } catch (cause) {
    throw new ClientError('damaged', `a row of ${table} is not what was stored`, { cause })
  }
}

/** All rows of a kind, page by page, each with its key. */
export async function* rowsOf<T>(
  store: Pick<Store, 'read'>,
  kind: RowKind<T>,
  { after: start }: { after?: Key } = {},
): AsyncGenerator<{ readonly key: Key; readonly row: T }> {
  for (let after = start; ; ) {
    const rows = await store.read(kind.table, { after, limit: pageRows })
    for (const { key, value } of rows) yield { key, row: readRow(kind, value) }
    after = rows.at(-1)?.key
    if (rows.length < pageRows) return
  }
}

const pageRows = 100

export function putRow<T>({ table, codec }: RowKind<T>, key: Key, value: T): Change {
  return { table, key, value: encode(codec, value).slice() } // without the room that was left for more
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

const origins = { registered: 1, recovered: 2, linked: 3 } as const

export const accountRow = {
  table: 'account',
  codec: struct({
    identity: Identity,
    isAdmin: bool,
    ownDevices: optional(ConversationId),
    /** How this device came to the account: a recovered one has no memory, and nobody who gives it one. */
    origin: named(u8, origins),
  }),
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

/** A device that waits to be put on the list of an account that there is. */
export const linkingRow = {
  table: 'account',
  codec: struct({
    host: text({ max: protocol.hostBytesMax }),
    port: u16,
    serverKey: PublicKey,
    account: AccountId,
    device: DeviceId,
    signatureSeed: Seed,
    requestSeed: Seed,
  }),
} as const
export type LinkingRow = Infer<(typeof linkingRow)['codec']>

/** The seed of a manager key that the list may name by now. */
export const nextManagerRow = { table: 'account', codec: struct({ seed: Seed }) } as const

export const accountKeys = { account: 0, registration: 1, recovery: 2, linking: 3, nextManager: 4 } as const

// ─── where sending and delivery stand ───

export const progressKeys = { sending: 0, delivery: 1, pins: 2, counters: 3, opened: 4 } as const
export const sendingRow = { table: 'progress', codec: struct({ nextNumber: u64 }) } as const
/** The number of the next send of this device. */
export async function nextSendNumber(store: Pick<Store, 'get'>): Promise<number> {
  return (await getRow(store, sendingRow, progressKeys.sending))?.nextNumber ?? 1
}

/** Everything up to `through` is stored; positions mean something within one incarnation only. Protocol 3 §3.1 */
export const deliveryRow = { table: 'progress', codec: struct({ incarnation: Incarnation, through: u64 }) } as const
export const pinCountRow = { table: 'progress', codec: struct({ count: u32 }) } as const

const outboxOperations = { send: 1, commit: 2 } as const
/** The finished bytes of a request that has no answer yet. Protocol 3 §6.5 */
export const outboxRow = {
  table: 'outbox',
  codec: struct({ operation: named(u8, outboxOperations), body: bytes({ max: protocol.frameBytesMax }) }),
} as const

// ─── other accounts ───

/** How many accounts of one name the user can have turned down. */
const turnedDownMax = 16
/** The account that a name stood for when it was first seen, or was decided to; and those that it does not stand for. */
export const pinRow = {
  table: 'pins',
  codec: struct({ account: AccountId, turnedDown: list(AccountId, { max: turnedDownMax }) }),
} as const
export type PinRow = Infer<(typeof pinRow)['codec']>

/** The newest that were turned down are remembered. */
export function turningDown({ account, turnedDown }: PinRow, other: AccountId): PinRow {
  return { account, turnedDown: [...turnedDown, other].slice(-turnedDownMax) }
}

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
