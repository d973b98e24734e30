import { type Brand, fixed, type Infer, mapped, named, rest, struct, u8, u16, u32 } from '../codec.ts'
import { malformed } from '../errors.ts'
import { countCodePoints, utf8Decode, utf8Encode } from '../utf8.ts'
import { limits } from './limits.ts'

/** What a client is called by: 16 random bytes, handed out by the server. §3.1 */
export type ClientId = Uint8Array & Brand<'ClientId'>
export const ClientId = fixed<ClientId>(limits.idBytes)

/** An RSA key as the client sent it; the server never looks inside. §6.1 */
export type PublicKey = Uint8Array & Brand<'PublicKey'>
export const PublicKey = fixed<PublicKey>(limits.publicKeyBytes)

/**
 * A client's name: the UTF-8 bytes before the first NUL of a field of 255. All 255 must be valid UTF-8 with at least
 * one NUL; names are compared as bytes, without normalisation. What follows the NUL is read and forgotten, so this is
 * the one field that has more than one encoding; we write zeros. §3.1
 */
export type Name = Uint8Array & Brand<'Name'>
export const Name = mapped(fixed(limits.nameFieldBytes), {
  from(field): Name {
    const end = field.indexOf(0)
    if (end < 0) throw malformed('the name has no NUL at its end')
    countCodePoints(field) // valid behind the NUL as well
    return checkedName(field.slice(0, end))
  },
  to(name) {
    const field = new Uint8Array(limits.nameFieldBytes)
    field.set(name)
    return field
  },
})

/** The name that a person wrote as text. Throws `malformed` for one that the protocol cannot carry. */
export function nameFromText(text: string): Name {
  const bytes = utf8Encode(text)
  if (bytes.includes(0)) throw malformed('a name cannot hold a NUL')
  if (bytes.length >= limits.nameFieldBytes) throw malformed(`the name takes ${bytes.length} bytes of at most 254`)
  return checkedName(bytes)
}

export function nameToText(name: Name): string {
  return utf8Decode(name)
}

function checkedName(bytes: Uint8Array): Name {
  const points = countCodePoints(bytes)
  if (points < limits.nameCodePointsMin) throw malformed(`a name has at least 2 characters, this one ${points}`)
  return bytes as Name // the only cast to Name
}

/** What a message carries. A version 2 client cannot skip a type that it does not know: there is no fifth. §5 */
export const messageTypes = { 'key-request': 1, key: 2, text: 3, file: 4 } as const
export type MessageType = keyof typeof messageTypes
export const MessageType = named(u8, messageTypes)

/** In front of every request. The version is read and not judged: every number is served as 2. §2 */
export type RequestHeader = Infer<typeof RequestHeader>
export const RequestHeader = struct({ client: ClientId, version: u8, code: u8, payloadBytes: u32 })

/** In front of every response. §4 */
export type ResponseHeader = Infer<typeof ResponseHeader>
export const ResponseHeader = struct({ version: u8, code: u16, payloadBytes: u32 })

/** Asks for an id under a name that nobody has yet. §3.1 */
export type Registration = Infer<typeof Registration>
export const Registration = struct({ name: Name, publicKey: PublicKey })

/** One line of the list of clients. §3.2 */
export type Listed = Infer<typeof Listed>
export const Listed = struct({ client: ClientId, name: Name })

/** The answer to a list: everybody but the asker, in the order of registration. §3.2 */
export const Listing = rest(Listed, { max: Math.floor(limits.responsePayloadBytesMax / Listed.max) })

/** Whose key is asked for. §3.3 */
export const Target = struct({ client: ClientId })

/** Whose key this is, and the key. §3.3 */
export const PublicKeyOf = struct({ client: ClientId, publicKey: PublicKey })

/** In front of the content of a message that is being sent. §3.4 */
export type Addressed = Infer<typeof Addressed>
export const Addressed = struct({ recipient: ClientId, type: MessageType, contentBytes: u32 })

/** The answer to a send: the message is on disk. §3.4 */
export type Receipt = Infer<typeof Receipt>
export const Receipt = struct({ recipient: ClientId, message: u32 })

/** In front of the content of a message that is being fetched. §3.5 */
export type Delivered = Infer<typeof Delivered>
export const Delivered = struct({ sender: ClientId, message: u32, type: MessageType, contentBytes: u32 })
