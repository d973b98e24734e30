import { bytes, decode, encode, type Infer, list, struct } from '@messageu/protocol'
import { type AccountId, type DeviceId, ListEntry, type PublicKey } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type SigningKey, verifySignature } from '../signing.ts'
import { type VerifiedList, verifyList } from '../verifiedlist.ts'
import { Authored, type Header, Message } from './authored-bytes.ts'
import { type Content, decodeContent } from './content.ts'
import { ConversationError, mustHold } from './errors.ts'
import { limits } from './limits.ts'
import { authorshipOf, departureOf, type GroupId } from './shared.ts'

export async function author(message: Infer<typeof Message>, requestKey: SigningKey): Promise<Authored> {
  const bytes = encode(Message, message)
  return { message: bytes, signature: await requestKey.sign(authorshipOf(bytes)) }
}

/** What an author wrote, by bytes that were verified before. */
export function readAuthored({ message }: Authored): { readonly header: Header; readonly content: Content } {
  const { header, content } = decode(Message, message)
  return { header, content: decodeContent(content) }
}

/** Whether what others are to act on bears its author's signature: a departure says nothing that has none. §6.10 */
export async function isBorneOut(
  content: Content,
  group: GroupId,
  { account, device, requestKey }: { account: AccountId; device: DeviceId; requestKey: PublicKey },
): Promise<boolean> {
  if (content.kind !== 'leave') return true
  const { epoch, departure } = content.body
  return verifySignature(requestKey, departureOf({ group, epoch, account, device }), departure)
}

/** The list of the author's account up to the version that the header names, and what the author signed. §6.11 */
export const AuthorshipProof = struct({
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
  return encode(AuthorshipProof, { entries: entries.slice(0, header.list.version), authored })
}

/** What a proof proves. Throws `unproved` for anything that its author did not write so. */
export async function verifyAuthorship(proof: Uint8Array): Promise<Proven> {
  try {
    const { entries, authored } = decode(AuthorshipProof, proof)
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
    const read = decodeContent(content)
    const author = { account: list.account, device: header.device, requestKey: device.requestKey }
    mustHold(await isBorneOut(read, header.group, author), 'unproved', 'nobody could show the departure that is in it')
    return { account: list.account, list, header, content: read }
  } catch (cause) {
    if (cause instanceof ConversationError) throw cause
    throw new ConversationError('unproved', 'the bytes prove nothing', { cause })
  }
}
