import { encode, ProtocolError } from '@messageu/protocol'
import { answerHeader, PublicKeyOf } from '@messageu/protocol/v2'
import type { Operation } from '../host.ts'

/** The public key of a client. The original's client puts the target's id into the header as well. §3.3 */
export const key: Operation<'key'> = ({ storage }, { target }, connection) => {
  const owner = storage.clientById(target)
  if (owner === undefined) throw new ProtocolError('unknown-recipient', 'nobody has the id whose key is asked for')
  const payload = encode(PublicKeyOf, { client: owner.id, publicKey: owner.publicKey })
  connection.answer(Buffer.concat([answerHeader('key', payload.length), payload]))
  return undefined
}
