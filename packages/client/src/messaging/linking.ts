import { certify, newDevice, type VerifiedList } from '@messageu/e2ee'
import type { DeviceCertificate, Link } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import type { World } from '../connection.ts'
import { readList } from '../lists.ts'
import { finish, mustBeFree, openWire } from '../registering.ts'
import { type AccountRow, accountKeys, getRow, type LinkingRow, linkingRow, putRow } from '../rows.ts'
import { change, type Store } from '../store.ts'
import { orAborted } from '../waiting.ts'
import { readOffer, writeDeviceCode } from './codes.ts'

interface Joining {
  readonly store: Store
  readonly world: World
  readonly signal: AbortSignal
}

/** How often the list is read until this device is on it. */
const lookMs = 2_000

/**
 * Makes this profile a device that waits to be put on the list of the account that the code is of. Returns the code that
 * the other device wants: two codes, each carried by hand, so that no server can put itself between. CONVERSATIONS A 3
 */
export async function beginLinking({ store, world }: Omit<Joining, 'signal'>, offer: string): Promise<string> {
  await mustBeFree(store)
  const { host, port, serverKey, account } = await readOffer(offer)
  const begun = await getRow(store, linkingRow, accountKeys.linking)
  const isSame = begun !== undefined && sameBytes(begun.account, account) && sameBytes(begun.serverKey, serverKey)
  const row = isSame ? begun : { host, port, serverKey, account, ...newDevice(world.random) }
  if (!isSame)
    await change(store, async () => ({ changes: [putRow(linkingRow, accountKeys.linking, row)], result: undefined }))
  return writeDeviceCode(await certificateOf(row))
}

/** Waits until the device that was begun is on the list, and is that device from then on. */
export async function finishLinking({ store, world, signal }: Joining): Promise<AccountRow> {
  const row = await getRow(store, linkingRow, accountKeys.linking)
  if (row === undefined) throw new Error('nobody waits for a device that was not begun')
  for (;;) {
    const account = await tryLinking({ store, world, signal }, row)
    if (account !== undefined) return account
    await pause(world, signal)
  }
}

async function tryLinking({ store, world, signal }: Joining, row: LinkingRow): Promise<AccountRow | undefined> {
  const { host, port, serverKey, account, device, signatureSeed, requestSeed } = row
  const link: Link = { host, port, serverKey, invite: undefined }
  using wire = await openWire({ link, world, signal })
  const list = await readList({ asker: wire, store, clock: world.clock, serverKey }, account, { signal })
  if (!isOn(list, await certificateOf(row))) return undefined
  const identity = {
    host,
    port,
    serverKey,
    account,
    name: list.name,
    device,
    signatureSeed,
    requestSeed,
    managerSeed: undefined,
  }
  return await finish({ link, store, world, signal }, wire, identity, { origin: 'linked' })
}

function certificateOf(row: LinkingRow): Promise<DeviceCertificate> {
  return certify(row, { account: row.account, serverKey: row.serverKey })
}

function isOn({ devices }: VerifiedList, { device, requestKey }: DeviceCertificate): boolean {
  return devices.some((listed) => sameBytes(listed.device, device) && sameBytes(listed.requestKey, requestKey))
}

async function pause({ clock }: World, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>()
  using _timer = clock.after(lookMs, () => over.resolve())
  await orAborted(over.promise, signal)
}
