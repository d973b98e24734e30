import { answerHeader } from '@messageu/protocol/v2'
import type { Operation } from '../host.ts'
import { Pump } from '../pump.ts'

/** Lists up to this size are answered in one write. */
const oneWriteBytes = 65_536

/** Everybody but the asker, in the order of registration. §3.2 */
export const list: Operation<'list'> = ({ storage, limits }, _, connection, asker) => {
  const parts = storage.listing(asker)
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  const header = answerHeader('list', bytes)
  if (bytes <= oneWriteBytes) {
    connection.answer(Buffer.concat([header, ...parts]))
    return undefined
  }
  connection.delivering(bytes)
  const pump = new Pump(connection.socket, limits)
  pump
    .run([header, ...parts].map((part) => ({ bytes: part, release() {} })))
    .then((whole) => (whole ? connection.answer(new Uint8Array(0)) : connection.socket.destroy()))
    .catch((error: unknown) => connection.report(error))
  return { onDeadline: () => connection.socket.destroy(), onClose: () => pump.stop() }
}
