import { bytes, type Infer, optional, struct, u32, u64 } from '@messageu/protocol'
import { DeviceId, Hash, SendId, Signature } from '@messageu/protocol/v3'
import { limits } from './limits.ts'
import { GroupId } from './shared.ts'

/** What stands before the content inside the encryption, and is signed with it. §6.11 */
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

/** Header and content, as they are signed. §6.11 */
export const Message = struct({ header: Header, content: bytes({ max: limits.paddedBytesMax }) })

/** A message with its author's signature: what is sealed, and what proves authorship to a third party. §6.11 */
export const Authored = struct({ message: bytes({ max: limits.paddedBytesMax }), signature: Signature })
export type Authored = Infer<typeof Authored>
