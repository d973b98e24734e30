import { bytes, decode, encode, type Infer, list, optional, struct, u32, u64 } from '@messageu/protocol'
import { type AccountId, DeviceId, Hash, ListEntry, SendId, Signature } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type SigningKey, verifySignature } from '../signing.ts'
import { type VerifiedList, verifyList } from '../verifiedlist.ts'
import { type Content, decodeContent } from './content.ts'
import { ConversationError, mustHold } from './errors.ts'
import { limits } from './limits.ts'
import { authorshipOf, GroupId } from './shared.ts'

/** What stands before the content inside the encryption, and is signed with it. §6.10 */
export const Header = struct({
  id: SendId,
  device: DeviceId,
  /** Sender's clock, milliseconds since 1970; for display, never for ordering. */
  clock: u64,
  group: GroupId,
  /** The sender's own device list as it knows it: how others learn of a version that is withheld from them. */
  list: struct({ version: u32, hash: Hash }),
  /** The newest item that the sender had seen, with the hash of all up to it. */
  seen: struct({ sequence: u64, hash: Hash }),
  /** The authenticator of the epoch before, hashed; nothing if the sender was not there. */
  previous: optional(Hash),
})
export type Header = Infer<typeof Header>

/** Header and content, as they are signed. §6.10 */
export const Message = struct({ header: Header, content: bytes({ max: limits.paddedBytesMax }) })

/** A message with its author's signature: what is sealed, and what proves authorship to a third party. §6.10 */
export const Authored = struct({ message: bytes({ max: limits.paddedBytesMax }), signature: Signature })
export type Authored = Infer<typeof Authored>

export async function author(message: Infer<typeof Message>, requestKey: SigningKey): Promise<Authored> {
  const bytes = encode(Message, message)
  return { message: bytes, signature: await requestKey.sign(authorshipOf(bytes)) }
}

/** The list of the author's account up to the version that the header names, and what the author signed. §6.10 */
const Proof = struct({
  entries: list(bytes({ max: ListEntry.max }), { max: limits.listEntriesMax }),
  authored: Authored,
})

/** What a proof shows. The name of the account and whether the verifier knows it, is the verifier's to judge. */
export interface Proven {
  readonly account: AccountId
  readonly list: VerifiedList
  readonly header: Header
  readonly content: Content
}

/** Bytes that convince somebody who was not there. `entries` are those of the author's list, from the first one on. */
export function proveAuthorship(authored: Authored, entries: readonly Uint8Array[]): Uint8Array {
  const { header } = decode(Message, authored.message)
  return encode(Proof, { entries: entries.slice(0, header.list.version), authored })
}

/** What a proof proves. Throws `unproved` for anything that its author did not write so. */
export async function verifyAuthorship(proof: Uint8Array): Promise<Proven> {
  try {
    const { entries, authored } = decode(Proof, proof)
    const { header, content } = decode(Message, authored.message)
    const list = await verifyList(entries)
    mustHold(
      list.version === header.list.version && sameBytes(list.hash, header.list.hash),
      'unproved',
      'the list is not the one that the message names',
    )
    const device = list.devices.find((listed) => sameBytes(listed.device, header.device))
    mustHold(device !== undefined, 'unproved', 'the device is not on the list')
    const isSigned = await verifySignature(device.requestKey, authorshipOf(authored.message), authored.signature)
    mustHold(isSigned, 'unproved', 'the signature does not hold')
    return { account: list.account, list, header, content: decodeContent(content) }
  } catch (cause) {
    if (cause instanceof ConversationError) throw cause
    throw new ConversationError('unproved', 'the bytes prove nothing', { cause })
  }
}
