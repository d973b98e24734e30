import {
  accountKeyFromWords,
  certify,
  continueVerified,
  createAccount,
  newDevice,
  newSeed,
  type RecoveryWords,
  recoverAccount,
  type Secret,
  type SigningKey,
  signingKey,
  type VerifiedList,
  verifyList,
} from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import {
  AccountId,
  type AccountName,
  accountName,
  ConversationId,
  contexts,
  inContext,
  type Link,
  type PublicKey,
  RefusedError,
} from '@messageu/protocol/v3'
import { sameBytes } from './bytes.ts'
import type { World } from './connection.ts'
import { findOwnDevices } from './conversations.ts'
import { badAnswer, ClientError } from './errors.ts'
import { readList } from './lists.ts'
import { prove } from './proving.ts'
import {
  type AccountRow,
  accountKeys,
  accountRow,
  dropRow,
  getRow,
  type IdentityRow,
  linkingRow,
  putRow,
  type RecoveryRow,
  type RegistrationRow,
  recoveryRow,
  registrationRow,
} from './rows.ts'
import { type Change, change, type Store } from './store.ts'
import { Wire } from './wire.ts'

export interface Applicant {
  readonly link: Link
  readonly words: RecoveryWords
  readonly store: Store
  readonly world: World
  readonly signal: AbortSignal
}

/** How often somebody else may change the list between our reading and our writing. */
const recoveriesMax = 5

/**
 * A new account with this device as its first. The request is stored before it is sent: after a loss, the same words and
 * the same name send the same bytes again, and the server answers as it did. The words are not kept. Protocol 3 §5.1
 */
export async function register(applicant: Applicant & { readonly name: string }): Promise<AccountRow> {
  const { link, words, store, signal } = applicant
  await mustBeFree(store)
  const accountKey = await accountKeyFromWords(words)
  const name = accountName(applicant.name)
  const begun = await getRow(store, registrationRow, accountKeys.registration)
  const isSame = isFor(begun, accountKey, link) && begun.identity.name === name
  const pending = isSame ? begun : await beginRegistration(applicant, accountKey, name)
  using wire = await openWire(applicant)
  try {
    const { entry, ownDevices } = pending
    const registered = await wire.request('register', { entry, invite: link.invite, ownDevices }, { signal })
    return await finish(applicant, wire, pending.identity, { origin: 'registered', ownDevices: registered.ownDevices })
  } catch (error) {
    // what is refused for good now is no reason to send the same bytes later
    if (error instanceof RefusedError && error.retry !== 'later')
      await write(store, [dropRow(registrationRow, accountKeys.registration)])
    throw error
  }
}

/**
 * The account that the words belong to, with this device as its only one: every other is taken off its list. There is
 * no history without a sibling that still has it. CONVERSATIONS A 4
 */
export async function recover(applicant: Applicant): Promise<AccountRow> {
  const { link, words, store, world, signal } = applicant
  await mustBeFree(store)
  const accountKey = await accountKeyFromWords(words)
  const account = await accountOf(accountKey.publicKey)
  using wire = await openWire(applicant)
  const source = { asker: wire, store, clock: world.clock, serverKey: link.serverKey }
  for (let attempt = 1; ; attempt++) {
    const list = await readList(source, account, { signal })
    const stored = await getRow(store, recoveryRow, accountKeys.recovery)
    const begun = isFor(stored, accountKey, link) ? stored : undefined
    const isDone = begun !== undefined && isOn(list, begun)
    const isUsable = begun !== undefined && (isDone || (await continues(list, begun)))
    const pending = isUsable ? begun : await beginRecovery(applicant, accountKey, list)
    try {
      if (!isDone) await wire.request('recover', { account, entry: pending.entry }, { signal })
      return await finish(applicant, wire, pending.identity, { origin: 'recovered' })
    } catch (error) {
      const isStale = error instanceof RefusedError && error.reason === 'stale-list'
      if (!isStale || attempt === recoveriesMax) throw error
    }
  }
}

/** What a link says to whoever has no session yet: nothing is sent to another server than its own. */
export async function openWire({ link, world, signal }: Pick<Applicant, 'link' | 'world' | 'signal'>): Promise<Wire> {
  const wire = await Wire.open(link, world, { signal })
  if (sameBytes(wire.hello.serverKey, link.serverKey)) return wire
  wire[Symbol.dispose]()
  throw new ClientError('untrusted-server', `the server at ${link.host} has another key than the link says`)
}

async function beginRegistration(
  { link, world, store }: Applicant,
  accountKey: SigningKey,
  name: AccountName,
): Promise<RegistrationRow> {
  const { random } = world
  const { serverKey } = link
  const device = newDevice(random)
  const managerSeed = newSeed(random)
  const managerKey = (await signingKey(managerSeed)).publicKey
  const entry = await createAccount({ accountKey, managerKey, name, serverKey, device })
  const { account } = await verifyList([entry])
  const ownDevices = decode(ConversationId, random(ConversationId.max))
  const identity = identityOf(link, { account, name, device, managerSeed })
  const row = { identity, accountKey: accountKey.publicKey, entry, ownDevices }
  await write(store, [putRow(registrationRow, accountKeys.registration, row)])
  return row
}

async function beginRecovery(
  { link, world, store }: Applicant,
  accountKey: SigningKey,
  list: VerifiedList,
): Promise<RecoveryRow> {
  const { random } = world
  const { account, name } = list
  const device = newDevice(random)
  const managerSeed = newSeed(random)
  const managerKey = (await signingKey(managerSeed)).publicKey
  const certificate = await certify(device, { account, serverKey: link.serverKey })
  const entry = await recoverAccount(list, accountKey, { managerKey, device: certificate })
  const identity = identityOf(link, { account, name, device, managerSeed })
  const row = { identity, accountKey: accountKey.publicKey, entry }
  await write(store, [putRow(recoveryRow, accountKeys.recovery, row)])
  return row
}

/** The account is ours once the server has proved who it is to the device that it now has. */
export async function finish(
  { link, world, store, signal }: Omit<Applicant, 'words'>,
  wire: Wire,
  identity: IdentityRow,
  { origin, ownDevices }: { origin: AccountRow['origin']; ownDevices?: ConversationId },
): Promise<AccountRow> {
  const opened = await prove(wire, link, await proverOf(identity), { ...world, signal })
  if (!sameBytes(opened.account, identity.account)) throw badAnswer('a session of another account')
  const row: AccountRow = {
    identity,
    isAdmin: opened.isAdmin,
    ownDevices: ownDevices ?? (await findOwnDevices(wire, { signal })),
    origin,
  }
  await write(store, [
    putRow(accountRow, accountKeys.account, row),
    dropRow(registrationRow, accountKeys.registration),
    dropRow(recoveryRow, accountKeys.recovery),
    dropRow(linkingRow, accountKeys.linking),
  ])
  return row
}

export async function proverOf({ device, requestSeed }: IdentityRow) {
  return { device, requestKey: await signingKey(requestSeed) }
}

/** Whether that was begun with the same words at the same server, and not answered. */
function isFor<T extends RecoveryRow>(
  begun: T | undefined,
  { publicKey }: SigningKey,
  { serverKey }: Link,
): begun is T {
  if (begun === undefined) return false
  return sameBytes(begun.accountKey, publicKey) && sameBytes(begun.identity.serverKey, serverKey)
}

function isOn({ devices }: VerifiedList, { identity }: RecoveryRow): boolean {
  return devices.some(({ device }) => sameBytes(device, identity.device))
}

async function continues(list: VerifiedList, { entry }: RecoveryRow): Promise<boolean> {
  try {
    await continueVerified(list, [entry])
    return true
  } catch {
    return false
  }
}

function identityOf(
  { host, port, serverKey }: Link,
  of: { account: AccountId; name: AccountName; device: ReturnType<typeof newDevice>; managerSeed: Secret },
): IdentityRow {
  const { device, signatureSeed, requestSeed } = of.device
  return {
    host,
    port,
    serverKey,
    account: of.account,
    name: of.name,
    device,
    signatureSeed,
    requestSeed,
    managerSeed: of.managerSeed,
  }
}

export async function mustBeFree(store: Store): Promise<void> {
  const account = await getRow(store, accountRow, accountKeys.account)
  if (account !== undefined)
    throw new ClientError('already-registered', `this profile is ${account.identity.name} at ${account.identity.host}`)
}

/** Protocol 3 §4.1 */
async function accountOf(accountKey: PublicKey): Promise<AccountId> {
  const preimage = inContext(contexts.account, accountKey).slice()
  return decode(AccountId, new Uint8Array(await crypto.subtle.digest('SHA-256', preimage)))
}

async function write(store: Store, changes: readonly Change[]): Promise<void> {
  await change(store, async () => ({ changes, result: undefined }))
}
