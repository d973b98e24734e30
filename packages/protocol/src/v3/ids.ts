import { type Brand, fixed } from '../codec.ts'

/** SHA-256 over the public account key under its context. §4.1 */
export type AccountId = Uint8Array & Brand<'AccountId'>
/** 16 random bytes, bound to its keys by the list entry that adds it. §4.4 */
export type DeviceId = Uint8Array & Brand<'DeviceId'>
/** 32 random bytes, chosen by whoever creates the conversation. §6.1 */
export type ConversationId = Uint8Array & Brand<'ConversationId'>
/** 16 random bytes that name one send or commit of one device. §6.5 */
export type SendId = Uint8Array & Brand<'SendId'>
/** An Ed25519 public key (RFC 8032). */
export type PublicKey = Uint8Array & Brand<'PublicKey'>
/** An Ed25519 signature. */
export type Signature = Uint8Array & Brand<'Signature'>
/** A SHA-256. */
export type Hash = Uint8Array & Brand<'Hash'>
/** 32 random bytes that are used once. */
export type Nonce = Uint8Array & Brand<'Nonce'>
/** 16 random bytes, new after every restore of the server. §3.1 */
export type Incarnation = Uint8Array & Brand<'Incarnation'>
/** 128 random bits that let one person in. §9 */
export type Invite = Uint8Array & Brand<'Invite'>

export const AccountId = fixed<AccountId>(32)
export const DeviceId = fixed<DeviceId>(16)
export const ConversationId = fixed<ConversationId>(32)
export const SendId = fixed<SendId>(16)
export const PublicKey = fixed<PublicKey>(32)
export const Signature = fixed<Signature>(64)
export const Hash = fixed<Hash>(32)
export const Nonce = fixed<Nonce>(32)
export const Incarnation = fixed<Incarnation>(16)
export const Invite = fixed<Invite>(16)
