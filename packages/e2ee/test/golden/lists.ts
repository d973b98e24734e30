import { decode, encode, ProtocolError } from '@messageu/protocol'
import {
  accountIdOf,
  type DeviceId,
  Hash,
  type ListChange,
  ListEntry,
  ListEntryBody,
  PublicKey,
  readList,
  Signature,
} from '@messageu/protocol/v3'
import { sha256 } from '@noble/hashes/sha2.js'
import { certify, newDevice } from '../../src/device.ts'
import {
  addDevice,
  changeManager,
  closeAccount,
  createAccount,
  recoverAccount,
  removeDevice,
} from '../../src/listentries.ts'
import { type SigningKey, signingKey } from '../../src/signing.ts'
import { type VerifiedList, verifyList } from '../../src/verifiedlist.ts'
import { bodyOf, forge, type SeededKey, seededKey, signBody, type TestAccount, testAccount } from '../account.ts'
import { toHex } from '../hex.ts'
import { seeded } from '../seeded.ts'

/** The people and things of the vectors. */
export interface Cast {
  readonly alice: TestAccount
  readonly bob: TestAccount
  readonly managers: readonly [SeededKey, SeededKey, SeededKey]
  readonly laptop: ReturnType<typeof newDevice>
  readonly tablet: ReturnType<typeof newDevice>
  readonly spare: ReturnType<typeof newDevice>
}

/** One entry of Alice's list: what it does and how it is written on top of those before it. */
interface Step {
  readonly name: string
  write(list: VerifiedList, cast: Cast): Promise<Uint8Array>
}

const steps: readonly Step[] = [
  {
    name: 'the first manager key adds the laptop',
    write: async (list, { alice, managers, laptop }) => addDevice(list, managers[0], await alice.certificateOf(laptop)),
  },
  {
    name: 'the first manager key adds the tablet',
    write: async (list, { alice, managers, tablet }) => addDevice(list, managers[0], await alice.certificateOf(tablet)),
  },
  {
    name: 'the first manager key removes the tablet',
    write: (list, { managers, tablet }) => removeDevice(list, managers[0], tablet.device),
  },
  {
    name: 'the first manager key makes way for the second',
    write: (list, { managers }) => changeManager(list, managers[0], managers[1].publicKey),
  },
  {
    name: 'the account key makes a third manager key, keeps the laptop and adds a device',
    write: async (list, { alice, managers, laptop, spare }) =>
      recoverAccount(list, alice.accountKey, {
        managerKey: managers[2].publicKey,
        keep: [laptop.device],
        device: await alice.certificateOf(spare),
      }),
  },
  {
    name: 'the account key removes the laptop',
    write: (list, { alice, laptop }) => removeDevice(list, alice.accountKey, laptop.device),
  },
  {
    name: 'the account key makes the first manager key the manager again, and removes every device',
    write: (list, { alice, managers }) => recoverAccount(list, alice.accountKey, { managerKey: managers[0].publicKey }),
  },
  { name: 'the account key ends the account', write: (list, { alice }) => closeAccount(list, alice.accountKey) },
]

export async function cast(): Promise<Cast> {
  const alice = await testAccount('alice')
  const random = seeded('cast')
  return {
    alice,
    bob: await testAccount('bob'),
    managers: [alice.managerKey, await seededKey(random), await seededKey(random)],
    laptop: newDevice(random),
    tablet: newDevice(random),
    spare: newDevice(random),
  }
}

/** Alice's list from its creation to its end. */
export async function history(people: Cast): Promise<{ name: string; entry: Uint8Array; list: VerifiedList }[]> {
  const first = { name: 'the account key creates the account', entry: people.alice.created, list: people.alice.list }
  const entries = [first]
  for (const { name, write } of steps) {
    const entry = await write(entries.at(-1)?.list ?? first.list, people)
    entries.push({ name, entry, list: await verifyList([...entries.map((before) => before.entry), entry]) })
  }
  return entries
}

/** A whole list, or what somebody tries to put behind the first entries of Alice's. */
interface Refused {
  readonly name: string
  /** How many of Alice's entries stand before. */
  readonly after: number
  readonly entries: readonly Uint8Array[]
}

async function refused(people: Cast): Promise<Refused[]> {
  const entries = await history(people)
  return [
    ...(await badBeginnings(people)),
    ...(await badEntries(people, entries)),
    ...(await badChanges(people, entries)),
  ]
}

async function badBeginnings({ alice, bob, laptop }: Cast): Promise<Refused[]> {
  const { accountKey, managerKey, created } = alice
  const body = bodyOf(created)
  if (body.change.kind !== 'create') throw new Error('a list begins with its creation')
  const content = body.change.body
  const creation = (change: Partial<typeof content>): ListEntryBody => ({
    ...body,
    change: { kind: 'create', body: { ...content, ...change } },
  })
  const beginning = async (name: string, forged: ListEntryBody, key: SigningKey = accountKey) => ({
    name,
    after: 0,
    entries: [await forge(key, forged)],
  })
  const elsewhere = await certify(alice.phone, { account: alice.id, serverKey: bob.accountKey.publicKey })
  const neutralId = accountIdOf(neutral, sha256)
  const underNeutral = await certify(alice.phone, { account: neutralId, serverKey: alice.serverKey })
  const add: ListChange = { kind: 'add', body: { device: await alice.certificateOf(laptop) } }
  return [
    { name: 'no entry at all', after: 0, entries: [] },
    { name: 'bytes that are no entry', after: 0, entries: [seeded('no entry')(200)] },
    await beginning('it begins with an addition', { ...body, change: add }),
    await beginning('it begins with version 2', { ...body, version: 2 }),
    await beginning('something comes before the first entry', { ...body, previous: alice.list.hash }),
    await beginning('the account id belongs to another account key', { ...body, account: bob.id }),
    await beginning('the manager key creates the account', { ...body, signer: 'manager' }, managerKey),
    await beginning('the manager key signs for the account key', body, managerKey),
    await beginning(
      'an account key of order 1, under which everybody signs',
      { ...creation({ accountKey: neutral, device: underNeutral }), account: neutralId },
      { publicKey: neutral, sign: () => Promise.resolve(signatureUnderNeutral) },
    ),
    await beginning('a name with a blank at the end', creation({ name: 'alice ' })),
    await beginning('a name in two scripts', creation({ name: 'аlice' })),
    await beginning(
      'a device that belongs to another account',
      creation({ device: await bob.certificateOf(bob.phone) }),
    ),
    await beginning('a device that belongs to another server', creation({ device: elsewhere })),
    await beginning('another server than that of the device', creation({ serverKey: bob.accountKey.publicKey })),
  ]
}

type Entries = readonly { readonly entry: Uint8Array; readonly list: VerifiedList }[]

/** What is wrong with the entry itself, whatever it does. */
async function badEntries(people: Cast, entries: Entries): Promise<Refused[]> {
  const { alice, bob, managers } = people
  const [first, second] = entries
  if (first === undefined || second === undefined) throw new Error('the history has ended')
  const body = bodyOf(second.entry)
  const { signature } = decode(ListEntry, second.entry)
  const after1 = (name: string, ...bad: readonly Uint8Array[]): Refused => ({ name, after: 1, entries: bad })
  const encoded = encode(ListEntryBody, body)
  const flipped = decode(Signature, signature.with(0, (signature[0] ?? 0) ^ 1))
  const other = await createAccount({
    accountKey: alice.accountKey,
    managerKey: managers[1].publicKey,
    name: 'alice',
    serverKey: alice.serverKey,
    device: alice.phone,
  })
  return [
    after1('one bit of the signature is wrong', encode(ListEntry, { body: encoded, signature: flipped })),
    after1(
      'the second half of the signature is not reduced',
      encode(ListEntry, { body: encoded, signature: unreduced(signature) }),
    ),
    after1(
      'the signature is that of the entry before',
      encode(ListEntry, { body: encoded, signature: decode(ListEntry, first.entry).signature }),
    ),
    after1('a device signs for the manager key', await forge(await signingKey(alice.phone.requestSeed), body)),
    after1('the account key signs for the manager key', await forge(alice.accountKey, body)),
    after1('the manager key signs for the account key', await forge(managers[0], { ...body, signer: 'account' })),
    after1('a future manager key signs', await forge(managers[1], body)),
    after1('version 1 follows version 1', await forge(managers[0], { ...body, version: 1 })),
    after1('version 3 follows version 1', await forge(managers[0], { ...body, version: 3 })),
    after1('version 4294967295 follows version 1', await forge(managers[0], { ...body, version: 2 ** 32 - 1 })),
    after1(
      'the entry names nothing before it',
      await forge(managers[0], { ...body, previous: decode(Hash, new Uint8Array(32)) }),
    ),
    after1('the entry continues another list', await forge(managers[0], { ...body, previous: bob.list.hash })),
    after1('the entry belongs to another account', await forge(managers[0], { ...body, account: bob.id })),
    after1('the creation comes again', first.entry),
    after1('another creation follows', other),
    after1('an entry is left out', ...entries.slice(2, 3).map(({ entry }) => entry)),
    after1(
      'two entries have changed places',
      ...[entries[2], entries[1]].map((each) => each?.entry ?? new Uint8Array()),
    ),
    after1('an entry comes twice', second.entry, second.entry),
    after1('the entry ends early', second.entry.slice(0, -1)),
    after1('a byte follows the entry', Uint8Array.of(...second.entry, 0)),
    after1('a byte follows what is signed', await signBody(managers[0], Uint8Array.of(...encoded, 0))),
    after1('what is signed ends early', await signBody(managers[0], encoded.slice(0, -1))),
    after1('the signer has no name', await signBody(managers[0], encoded.with(68, 3))),
    after1('the change has no name', await signBody(managers[0], encoded.with(69, 7))),
    after1(
      'the body announces more bytes than an entry has',
      Uint8Array.of(0xff, 0xff, 0xff, 0xff, ...second.entry.slice(4)),
    ),
    after1('no bytes', new Uint8Array()),
  ]
}

/** Well made and well signed, and not allowed. */
async function badChanges(people: Cast, entries: Entries): Promise<Refused[]> {
  const { alice, bob, managers, laptop, tablet, spare } = people
  const attempt = async (name: string, after: number, key: SigningKey, change: ListChange): Promise<Refused> => {
    const list = entries[after - 1]?.list
    if (list === undefined) throw new Error(`the history has no version ${after}`)
    const signer = key === alice.accountKey ? 'account' : 'manager'
    const body = { account: alice.id, version: after + 1, previous: list.hash, signer, change } as const
    return { name, after, entries: [await forge(key, body)] }
  }
  const [manager] = managers
  const add = (device: Awaited<ReturnType<TestAccount['certificateOf']>>): ListChange => ({
    kind: 'add',
    body: { device },
  })
  const remove = (device: DeviceId): ListChange => ({ kind: 'remove', body: { device } })
  const recover = (keep: readonly DeviceId[], managerKey = managers[1].publicKey): ListChange => ({
    kind: 'recover',
    body: { managerKey, keep, device: undefined },
  })
  const phone = await alice.certificateOf(alice.phone)
  const good = await alice.certificateOf(spare)
  const twin = await alice.certificateOf({ ...spare, requestSeed: spare.signatureSeed })
  const sameIdOtherKeys = await alice.certificateOf({ ...newDevice(seeded('other keys')), device: alice.phone.device })
  const close: ListChange = { kind: 'close', body: undefined }
  return [
    await attempt('a device is added twice', 1, manager, add(phone)),
    await attempt('a device is added twice with other keys', 1, manager, add(sameIdOtherKeys)),
    await attempt('a former device is added again', 4, manager, add(await alice.certificateOf(tablet))),
    await attempt('a device whose two keys are one', 1, manager, add(twin)),
    await attempt(
      'a device that its signature key does not confirm',
      1,
      manager,
      add({ ...good, bySignatureKey: good.byRequestKey }),
    ),
    await attempt(
      'a device that its request key does not confirm',
      1,
      manager,
      add({ ...good, byRequestKey: good.bySignatureKey }),
    ),
    await attempt(
      'a device with another one’s request key',
      1,
      manager,
      add({ ...good, requestKey: phone.requestKey, byRequestKey: phone.byRequestKey }),
    ),
    await attempt('a device that belongs to another account', 1, manager, add(await bob.certificateOf(spare))),
    await attempt('a device under another id than it confirmed', 1, manager, add({ ...good, device: laptop.device })),
    await attempt('an unknown device is removed', 1, manager, remove(laptop.device)),
    await attempt('a former device is removed again', 4, manager, remove(tablet.device)),
    await attempt('the manager key recovers the account', 2, manager, recover([])),
    await attempt('the manager key ends the account', 2, manager, close),
    await attempt('a recovery keeps an unknown device', 2, alice.accountKey, recover([tablet.device])),
    await attempt('a recovery keeps a former device', 4, alice.accountKey, recover([tablet.device])),
    await attempt('a recovery keeps a device twice', 2, alice.accountKey, recover([laptop.device, laptop.device])),
    await attempt('a recovery leaves the manager key', 2, alice.accountKey, recover([], manager.publicKey)),
    await attempt('the manager key adds a device after the end', 9, manager, add(good)),
    await attempt('the account key recovers the account after the end', 9, alice.accountKey, recover([])),
    await attempt('the account ends twice', 9, alice.accountKey, close),
    await attempt('a former manager key signs', 5, manager, remove(laptop.device)),
    await eleventhDevice(people),
  ]
}

async function eleventhDevice({ alice, managers }: Cast): Promise<Refused> {
  const random = seeded('many devices')
  let list = alice.list
  const entries: Uint8Array[] = []
  const write = async (certificate: Awaited<ReturnType<TestAccount['certificateOf']>>): Promise<Uint8Array> =>
    forge(managers[0], {
      account: alice.id,
      version: list.version + 1,
      previous: list.hash,
      signer: 'manager',
      change: { kind: 'add', body: { device: certificate } },
    })
  while (list.devices.length < 10) {
    entries.push(await write(await alice.certificateOf(newDevice(random))))
    list = await verifyList([alice.created, ...entries])
  }
  entries.push(await write(await alice.certificateOf(newDevice(random))))
  return { name: 'the eleventh device', after: 1, entries }
}

/** The neutral element as a key, and a signature that fits it whatever was signed: R = S · B with S = 1. */
const neutral = decode(PublicKey, new Uint8Array(32).with(0, 1))
const basePoint = new Uint8Array(32).fill(0x66).with(0, 0x58)
export const signatureUnderNeutral = decode(Signature, Uint8Array.of(...basePoint, ...neutral))

/** The same signature to those who do not look: the order of the group is added to its second half. */
export function unreduced(signature: Signature): Signature {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  let scalar = order
  signature.subarray(32).forEach((byte, i) => {
    scalar += BigInt(byte) << BigInt(8 * i)
  })
  const bytes = signature.slice()
  for (let i = 0; i < 32; i++) bytes[32 + i] = Number((scalar >> BigInt(8 * i)) & 255n)
  return decode(Signature, bytes)
}

export async function listVectors() {
  const people = await cast()
  const entries = await history(people)
  const { alice, managers } = people
  return {
    title: 'device lists',
    serverKey: toHex(alice.serverKey),
    accountSeed: toHex(alice.accountKey.seed.reveal()),
    managerSeeds: managers.map(({ seed }) => toHex(seed.reveal())),
    account: toHex(alice.id),
    name: alice.name,
    history: entries.map(({ name, entry, list }) => ({
      name,
      entry: toHex(entry),
      hash: toHex(list.hash),
      managerKey: toHex(list.managerKey),
      devices: list.devices.map(({ device, since }) => ({ device: toHex(device), since })),
      formerDevices: list.formerDevices.map(toHex),
      isClosed: list.isClosed,
    })),
    refused: await Promise.all(
      (await refused(people)).map(async ({ name, after, entries: bad }) => {
        const before = entries.slice(0, after).map(({ entry }) => entry)
        return { name, after, entries: bad.map(toHex), fault: await faultOf([...before, ...bad]) }
      }),
    ),
  }
}

/** What is wrong with a list: so that it shows whether an entry is refused for what its name says. */
async function faultOf(entries: readonly Uint8Array[]): Promise<'bytes' | 'name' | 'rule' | 'signature'> {
  try {
    readList(entries, sha256)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    if (error.reason === 'malformed') return 'bytes'
    return error.reason === 'bad-name' ? 'name' : 'rule'
  }
  const isRefused = await verifyList(entries).then(
    () => false,
    () => true,
  )
  if (!isRefused) throw new Error('the list is not refused')
  return 'signature'
}
