import { decode, encode, ProtocolError } from '@messageu/protocol'
import type { SendId } from '@messageu/protocol/v3'
import type { PrivateMessage } from 'ts-mls'
import { unprotectPrivateMessage } from 'ts-mls/messageProtection.js'
import { decryptSenderData } from 'ts-mls/privateMessage.js'
import { sameBytes } from '../bytes.ts'
import { verifySignature } from '../signing.ts'
import { cryptoOf } from './algorithms.ts'
import { isBorneOut } from './authored.ts'
import { Authored, type Header, Message } from './authored-bytes.ts'
import { type Content, decodeContent } from './content.ts'
import { messageKeyRetention, messagingOf, type OpenEpoch, previousOf, readEpoch } from './epochs.ts'
import { atLeaf, readPrivateMessage, sameGroup } from './handshakes.ts'
import { limits } from './limits.ts'
import { type Member, type Person, personOf } from './members.ts'
import { unpad } from './padding.ts'
import { EarlierRatchets, moved, type Ratchet, Ratchets, ratchetOf } from './ratchets.ts'
import { ratchetAt, secretTreeOf } from './secrettree.ts'
import { authorshipOf, GroupId, SendNote } from './shared.ts'
import type { ConversationState } from './state.ts'
import type { Suite } from './suites.ts'

/** Why a message is not shown. Outwardly they are all one: it was not opened. */
export type Unopened =
  | 'malformed' // no sealed message, or not of this conversation and generation
  | 'early' // of an epoch that this device has not reached
  | 'gone' // of an epoch whose keys are dropped
  | 'own' // sealed by this device
  | 'repeated' // its key was used, or has been dropped since
  | 'far' // too many messages of its sender are missing before it
  | 'unopenable' // altered, or sealed with keys of another history
  | 'misattributed' // opened, but not what its author signed
  | 'unreadable' // opened, but not content

export type Opened =
  | { readonly kind: 'opened'; readonly state: ConversationState; readonly message: OpenedMessage }
  /** The state is another one if the message had used its key. */
  | { readonly kind: 'unopened'; readonly state: ConversationState; readonly reason: Unopened }

export interface OpenedMessage {
  readonly sender: Person
  readonly epoch: number
  /** The send number, signed with the message. */
  readonly number: number
  readonly header: Header
  readonly content: Content
  /** What the author signed, for `proveAuthorship`. */
  readonly authored: Authored
  /** The sender remembers another epoch before this one: the members have been led apart. An alarm. */
  readonly isForked: boolean
}

/** Opens a message of the present epoch or of up to three before it, and says who sealed it. §6.11 */
export async function open(state: ConversationState, sealed: Uint8Array): Promise<Opened> {
  const unopened = (reason: Unopened, after = state): Opened => ({ kind: 'unopened', state: after, reason })
  const { own, epochs, present } = messagingOf(state)
  const message = await read(sealed, present.id)
  if (message === undefined) return unopened('malformed')
  if (message.epoch > present.number) return unopened('early')
  const kept = epochs[present.number - Number(message.epoch)]
  const ratchets = ratchetsOf(state, Number(message.epoch))
  if (kept === undefined || ratchets === undefined) return unopened('gone')
  const epoch = message.epoch < present.number ? readEpoch(kept) : present

  const place = await placeOf(message, { epoch, ratchets, own, suite: state.suite })
  if (typeof place === 'string') return unopened(place)
  const plain = await unprotected(message, { epoch, ...place, suite: state.suite })
  if (plain === undefined) return unopened('unopenable')
  const next = withRatchets(state, moved(ratchets, plain.ratchet), epoch.number === present.number)
  const inner = await attributed(plain, message, { epoch, sender: place.sender })
  return typeof inner === 'string' ? unopened(inner, next) : { kind: 'opened', state: next, message: inner }
}

/** What the outside of a sealed message says, which nobody has verified. Nothing if it says nothing. */
export function readEnvelope(sealed: Uint8Array): { readonly id: SendId; readonly epoch: number } | undefined {
  try {
    const { authenticatedData, epoch } = readPrivateMessage(sealed)
    return { id: decode(SendNote, authenticatedData).id, epoch: Number(epoch) }
  } catch {
    return undefined // engines throw many kinds of error on bytes that are no message
  }
}

async function read(sealed: Uint8Array, id: GroupId): Promise<PrivateMessage | undefined> {
  try {
    const message = readPrivateMessage(sealed)
    return sameGroup(decode(GroupId, message.groupId), id) ? message : undefined
  } catch {
    return undefined // engines throw many kinds of error on bytes that are no message
  }
}

interface Place {
  readonly sender: Member
  readonly ratchet: Ratchet
}

/**
 * Whose message it is, and whether its key is still there. The engine does not tell the sender; the data that it
 * decrypts this from is the epoch's own, and the signature that it verifies later is that sender's.
 */
async function placeOf(
  message: PrivateMessage,
  { epoch, ratchets, own, suite }: { epoch: OpenEpoch; ratchets: Ratchets; own: number; suite: Suite },
): Promise<Place | Unopened> {
  const data = await orNothing(async () => decryptSenderData(message, epoch.senderData, await cryptoOf(suite)))
  const sender = data && atLeaf(epoch.members, data.leafIndex)
  const ratchet = sender && ratchetOf(ratchets, sender.leaf)
  if (data === undefined || sender === undefined || ratchet === undefined) return 'unopenable'
  if (sender.leaf === own) return 'own'
  if (data.generation - ratchet.generation > limits.forwardStepsMax) return 'far'
  const isSkipped = ratchet.skipped.some(({ generation }) => generation === data.generation)
  return data.generation < ratchet.generation && !isSkipped ? 'repeated' : { sender, ratchet }
}

interface Plain {
  readonly content: Uint8Array
  /** The sender's, moved on. */
  readonly ratchet: Ratchet
}

async function unprotected(
  message: PrivateMessage,
  { epoch, sender, ratchet, suite }: Place & { epoch: OpenEpoch; suite: Suite },
): Promise<Plain | undefined> {
  const { content, tree } =
    (await orNothing(async () =>
      unprotectPrivateMessage(
        epoch.senderData,
        message,
        secretTreeOf(ratchet),
        [],
        epoch.context,
        messageKeyRetention,
        await cryptoOf(suite),
        sender.signatureKey,
      ),
    )) ?? {}
  if (content?.content.contentType !== 'application' || tree === undefined) return undefined
  return { content: content.content.applicationData, ratchet: ratchetAt(tree, sender.leaf) }
}

/** Content, header and outside have to tell the same story, signed by the device that sealed it. §6.11 */
async function attributed(
  { content: padded }: Plain,
  { authenticatedData }: PrivateMessage,
  { epoch, sender }: { epoch: OpenEpoch; sender: Member },
): Promise<OpenedMessage | Unopened> {
  const authored = orUndefined(() => decode(Authored, unpad(padded)))
  const message = authored && orUndefined(() => decode(Message, authored.message))
  const note = orUndefined(() => decode(SendNote, authenticatedData))
  if (authored === undefined || message === undefined || note === undefined) return 'unreadable'
  const { header } = message
  const isTheirs =
    sameBytes(header.device, sender.device) &&
    sameBytes(header.id, note.id) &&
    sameGroup(header.group, epoch.id) &&
    sameGroup(note.group, epoch.id) &&
    (await verifySignature(sender.requestKey, authorshipOf(authored.message), authored.signature))
  if (!isTheirs) return 'misattributed'
  const content = orUndefined(() => decodeContent(message.content))
  if (content === undefined) return 'unreadable'
  const isAhead = content.kind === 'leave' && content.body.epoch > epoch.number
  if (isAhead || !(await isBorneOut(content, epoch.id, sender))) return 'misattributed'
  const previous = previousOf(epoch)
  const isForked = previous !== undefined && header.previous !== undefined && !sameBytes(previous, header.previous)
  return { sender: personOf(sender), epoch: epoch.number, number: note.number, header, content, authored, isForked }
}

function ratchetsOf({ ratchets, earlier }: ConversationState, epoch: number): Ratchets | undefined {
  const present = decode(Ratchets, ratchets)
  if (present.epoch === epoch) return present
  return decode(EarlierRatchets, earlier).find((each) => each.epoch === epoch)
}

function withRatchets(state: ConversationState, next: Ratchets, isPresent: boolean): ConversationState {
  if (isPresent) return { ...state, ratchets: encode(Ratchets, next) }
  const earlier = decode(EarlierRatchets, state.earlier).map((each) => (each.epoch === next.epoch ? next : each))
  return { ...state, earlier: encode(EarlierRatchets, earlier) }
}

/** Whatever the engine throws on a message: it cannot be opened, and nobody learns more. */
async function orNothing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch {
    return undefined
  }
}

function orUndefined<T>(decoding: () => T): T | undefined {
  try {
    return decoding()
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}
