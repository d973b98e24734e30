import { ProtocolError } from '@messageu/protocol'
import { answerHeader, ClientId } from '@messageu/protocol/v2'
import type { Registered } from '../../storage.ts'
import type { Operation } from '../host.ts'

/** A new client under a name that nobody has. The id in the header is not looked at. §3.1 */
export const register: Operation<'register'> = (
  { storage, newClientId, privateIds, answers },
  { registration },
  connection,
) => {
  const login = newClientId()
  const id = privateIds ? newClientId() : login
  storage
    .register({ ...registration, login, id })
    .then((outcome) => {
      const answer = answerTo(outcome)
      answers.do(() => connection.answer(answer))
    })
    .catch((error: unknown) => connection.fail(error))
  return undefined
}

function answerTo(outcome: Registered): Uint8Array {
  switch (outcome.kind) {
    case 'registered':
      return Buffer.concat([answerHeader('register', ClientId.max), outcome.client.login])
    case 'name-taken':
      throw new ProtocolError('name-taken', 'the name is taken')
    case 'directory-full':
      throw new ProtocolError('directory-full', 'no more clients may register')
  }
}
