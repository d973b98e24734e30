import { decode, encode } from '@messageu/protocol'
import { encodeMlsMessage } from 'ts-mls'
import { protectApplicationData } from 'ts-mls/messageProtection.js'
import { cryptoOf } from './algorithms.ts'
import { author } from './authored.ts'
import { Authored, type Header } from './authored-bytes.ts'
import { type Content, encodeContent } from './content.ts'
import { messagingOf, noPadding, previousOf } from './epochs.ts'
import { mustHold } from './errors.ts'
import type { LocalDevice } from './keypackages.ts'
import { limits } from './limits.ts'
import { pad } from './padding.ts'
import { moved, mustBeUnspent, Ratchets, ratchetOf } from './ratchets.ts'
import { ratchetAt, secretTreeOf } from './secrettree.ts'
import { departureOf, type ListRef, SendNote } from './shared.ts'
import type { Sending } from './stage.ts'
import type { ConversationState } from './state.ts'

/** What the device knows at the time of writing. §6.11 */
export interface Writing extends Sending {
  /** Milliseconds since 1970. */
  readonly clock: number
  /** The own device list as the device knows it. */
  readonly list: Pick<ListRef, 'version' | 'hash'>
  readonly seen: Header['seen']
}

/** A message to send, and the state that has to be stored before it is sent. */
export interface SealedMessage {
  readonly state: ConversationState
  readonly epoch: number
  readonly sealed: Uint8Array
  /** What the device has signed: one's own messages are kept as those of others are. */
  readonly authored: Authored
}

/**
 * Seals content for the present epoch. The state that comes back has to be stored before the sealed bytes are sent:
 * sealing twice from one state would use one key twice. §6.5
 */
export async function seal(
  state: ConversationState,
  self: LocalDevice,
  content: Content,
  { id, number, clock, list, seen }: Writing,
): Promise<SealedMessage> {
  const { own: leaf, present: epoch } = messagingOf(state)
  const ratchets = decode(Ratchets, state.ratchets)
  const own = ratchetOf(ratchets, leaf)
  if (own === undefined) throw new Error('the state is damaged: no own ratchet')
  mustBeUnspent(own)

  const { version, hash } = list
  const header = {
    id,
    device: self.device,
    clock,
    group: epoch.id,
    list: { version, hash },
    seen,
    previous: previousOf(epoch),
  }
  const authored = await author({ header, content: encodeContent(content) }, self.requestKey)
  const { privateMessage, newSecretTree } = await protectApplicationData(
    self.signatureSeed.reveal(),
    epoch.senderData,
    pad(encode(Authored, authored)),
    encode(SendNote, { group: epoch.id, id, number }),
    epoch.context,
    secretTreeOf(own),
    own.leaf,
    noPadding,
    await cryptoOf(state.suite),
  )
  const sealed = encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage })
  mustHold(sealed.length <= limits.sealedBytesMax, 'limit', `${sealed.length} bytes are too many for one message`)
  const next = moved(ratchets, ratchetAt(newSecretTree, own.leaf))
  return { state: { ...state, ratchets: encode(Ratchets, next) }, epoch: epoch.number, sealed, authored }
}

/** Content by which an account says that it leaves; the signature is what the others act on. §6.10 */
export async function leaving(state: ConversationState, self: LocalDevice): Promise<Content> {
  const { id, number } = messagingOf(state).present
  const statement = { group: id, epoch: number, account: self.account, device: self.device }
  return { kind: 'leave', body: { epoch: number, departure: await self.requestKey.sign(departureOf(statement)) } }
}
