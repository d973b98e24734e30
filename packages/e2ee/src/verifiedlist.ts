import { ProtocolError } from '@messageu/protocol'
import { continueList, type DeviceList, type Hash } from '@messageu/protocol/v3'
import { sameBytes } from './bytes.ts'
import { IdentityError } from './errors.ts'
import { sha256 } from './hash.ts'
import { verifySignature } from './signing.ts'

/** A device list of which every signature holds. Only `verifyList` and `continueVerified` make one. §4.3 */
export interface VerifiedList extends DeviceList {
  /** The hash of each entry, the first one's first: the list at any version has been the one of this hash. */
  readonly hashes: readonly Hash[]
}

/** What was known of an account before its list was read. */
export type Expected = Partial<Pick<DeviceList, 'account' | 'name' | 'serverKey'>>

/** What is remembered of a list: the pair that has to be found again in every later one. */
export type SeenList = Pick<DeviceList, 'version' | 'hash'>

/**
 * The list that these entries are, from its first one on. Without `expected.account` it may be anybody's. Throws
 * `bad-list`. §4.3
 */
export async function verifyList(entries: readonly Uint8Array[], expected: Expected = {}): Promise<VerifiedList> {
  const list = await read(undefined, entries)
  if (list === undefined) throw badList('a device list has at least one entry')
  const { account, name, serverKey } = { ...list, ...expected }
  if (!sameBytes(account, list.account)) throw badList('the list belongs to another account')
  if (name !== list.name) throw badList('the list belongs to an account of another name')
  if (!sameBytes(serverKey, list.serverKey)) throw badList('the list belongs to an account at another server')
  return list
}

/**
 * The same list with more entries. Throws `bad-list`. Entries that continue another history than the one in `list` are
 * refused like any that does not fit; to tell an old list and a fork apart, read it from its first entry on and
 * `judgeList`. §4.3
 */
export async function continueVerified(list: VerifiedList, entries: readonly Uint8Array[]): Promise<VerifiedList> {
  return (await read(list, entries)) ?? list
}

/**
 * How a list stands to the one that was seen last. Throws `list-older` if it ends before that one and `list-forked` if
 * it has another history: neither is ever used, whatever its signatures. §4.5
 */
export function judgeList(seen: SeenList | undefined, list: VerifiedList): 'new' | 'same' | 'newer' {
  if (seen === undefined) return 'new'
  const { version, hash } = seen
  const then = list.hashes[version - 1]
  if (then === undefined)
    throw new IdentityError('list-older', `version ${list.version} of a list whose version ${version} was seen before`)
  if (!sameBytes(then, hash))
    throw new IdentityError('list-forked', `version ${version} is not the one that was seen before`)
  return list.version === version ? 'same' : 'newer'
}

async function read(
  start: VerifiedList | undefined,
  entries: readonly Uint8Array[],
): Promise<VerifiedList | undefined> {
  const hashes = [...(start?.hashes ?? [])]
  let list: DeviceList | undefined = start
  for (const entry of entries) {
    list = await verifiedEntry(list, entry)
    hashes.push(list.hash)
  }
  return list && { ...list, hashes }
}

async function verifiedEntry(list: DeviceList | undefined, entry: Uint8Array): Promise<DeviceList> {
  const next = continued(list, entry)
  const holds = await Promise.all(
    next.checks.map(({ key, message, signature }) => verifySignature(key, message, signature)),
  )
  const { version } = next.list
  if (holds[0] === false) throw badList(`the signature of version ${version} does not hold`)
  if (holds.includes(false)) throw badList(`the device in version ${version} did not sign that it belongs here`)
  return next.list
}

/** To whoever reads a list, an entry that is no entry and a name that is no name are as bad as a wrong order. */
function continued(list: DeviceList | undefined, entry: Uint8Array): ReturnType<typeof continueList> {
  try {
    return continueList(list, entry, sha256)
  } catch (cause) {
    if (!(cause instanceof ProtocolError) || cause.reason === 'bad-list') throw cause
    throw new ProtocolError('bad-list', cause.message, { cause })
  }
}

function badList(what: string): ProtocolError {
  return new ProtocolError('bad-list', what)
}
