import { ProtocolError } from '@messageu/protocol'
import { continueList, type DeviceList, RefusedError, type Registration, skeletonOf } from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import { deviceObjects, encodeAccount, entryKey, type KnownAccount, knownDevice } from './accountrecords.ts'
import { keyOf, turnOfAccount, turnOfDevice } from './accounts.ts'
import type { DirectoryParts } from './directoryparts.ts'
import { turnOfInvite, usedInvite } from './invites.ts'
import { givenName } from './names.ts'
import { numberKey } from './numbers.ts'
import type { Directory, Registered } from './services.ts'
import { mustHoldAll, sha256 } from './signatures.ts'

type Also = Parameters<Directory['register']>[1]

/**
 * Makes an account, or finds the one that the same registration has made before. Two that want the same account, name,
 * device, invite or conversation decide one after the other. Protocol 3 §5.1.
 */
export async function register(parts: DirectoryParts, registration: Registration, also: Also): Promise<Registered> {
  const { list, checks } = continueList(undefined, registration.entry, sha256)
  if (Buffer.compare(list.serverKey, parts.serverKey) !== 0)
    throw new ProtocolError('bad-list', 'the entry is for another server')
  return parts.turns.take(turnsOf(registration, list), async () => {
    const account = await parts.accounts.byId(list.account)
    if (account !== undefined) return repeated(parts, account, registration)
    const isAdmin = await mustBeWelcome(parts, registration)
    await mustBeFree(parts, registration, list)
    mustHoldAll(checks)
    return { account: await make(parts, registration, { list, isAdmin, also }), isNew: true }
  })
}

function turnsOf({ invite, ownDevices }: Registration, { account, name, devices }: DeviceList): string[] {
  return [
    turnOfAccount(account),
    `name ${skeletonOf(name)}`,
    `conversation ${keyOf(ownDevices)}`,
    ...devices.map(({ device }) => turnOfDevice(device)),
    ...(invite === undefined ? [] : [turnOfInvite(invite)]),
  ]
}

/** Whatever has happened to list and invite since, it was this registration that made the account. */
async function repeated(
  { archive }: DirectoryParts,
  account: KnownAccount,
  { entry, ownDevices }: Registration,
): Promise<Registered> {
  const first = await archive.get('listEntry', entryKey(account.id, 1))
  const isSame = first !== undefined && Buffer.compare(first, entry) === 0
  if (!isSame || Buffer.compare(account.ownDevices, ownDevices) !== 0)
    throw new RefusedError('not-permitted', 'the account exists already')
  return { account, isNew: false }
}

/** Whether the invite makes an administrator; nothing else does. */
async function mustBeWelcome({ policy, invites }: DirectoryParts, { invite }: Registration): Promise<boolean> {
  if (policy.registration === 'closed') throw new RefusedError('registration-closed', 'nobody may register here')
  if (invite !== undefined) return (await invites.find(invite)).isAdmin
  if (policy.registration === 'invite') throw new RefusedError('bad-invite', 'an invite is needed to register here')
  return false
}

async function mustBeFree(
  { archive, names }: DirectoryParts,
  { ownDevices }: Registration,
  { name, devices }: DeviceList,
): Promise<void> {
  if (await names.isTaken(name))
    throw new RefusedError('name-taken', 'somebody has this name, or one that looks like it')
  if ((await archive.get('conversation', ownDevices)) !== undefined)
    throw new RefusedError('conversation-exists', 'the id for the own devices is in use')
  for (const { device } of devices)
    if ((await archive.get('device', device)) !== undefined)
      throw new RefusedError('bad-list', 'the id of the device is in use')
}

/** From here on nothing is waited for until the step is called: its numbers have to be in its order. */
async function make(
  { archive, accounts, numbers, calendar, policy }: DirectoryParts,
  { entry, invite, ownDevices }: Registration,
  { list, isAdmin, also }: { list: DeviceList; isAdmin: boolean; also: Also },
): Promise<KnownAccount> {
  const accountNumber = numbers.next('account')
  const account: KnownAccount = {
    number: accountNumber.number,
    id: list.account,
    name: list.name,
    list,
    devices: [],
    isAdmin,
    isDisabled: false,
    quotaBytes: policy.quotaBytes,
    createdAt: calendar.nowMs,
    ownDevices,
  }
  const changes = [accountNumber.change]
  account.devices = list.devices.map((certificate) => {
    const { number, change } = numbers.next('device')
    changes.push(change)
    return knownDevice(account, { number, certificate })
  })
  const founding = account.devices.flatMap((device) => [...deviceObjects(device), ...also(account, device)])
  const objects = [
    ...changes,
    { kind: 'account', key: account.id, value: encodeAccount(account) },
    { kind: 'accountNumber', key: numberKey(account.number), value: account.id },
    { kind: 'listEntry', key: entryKey(account.id, list.version), value: entry },
    ...givenName(account),
    ...(invite === undefined ? [] : [usedInvite(invite)]),
    ...founding,
  ] satisfies ObjectChange[]
  await accounts.form(account, () => archive.step({ objects }))
  return account
}
