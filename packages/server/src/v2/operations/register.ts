import { ProtocolError } from '@messageu/protocol'
import { answerHeader, ClientId } from '@messageu/protocol/v2'
import type { Told } from '../../archive.ts'
import type { Registered } from '../../storage.ts'
import type { Connection } from '../connection.ts'
import type { Operation } from '../host.ts'
import type { Slices } from '../slices.ts'

const registeredHeader = answerHeader('register', ClientId.max)

/** A new client under a name that nobody has. The id in the header is not looked at. §3.1 */
export const register: Operation<'register'> = (
  { storage, newClientId, privateIds, answers },
  { registration },
  connection,
) => {
  const login = newClientId()
  const id = privateIds ? newClientId() : login
  storage.takeClient({ ...registration, login, id }, new Registering(connection, answers))
  return undefined
}

class Registering implements Told<Registered> {
  readonly #connection: Connection
  readonly #answers: Slices

  constructor(connection: Connection, answers: Slices) {
    this.#connection = connection
    this.#answers = answers
  }

  durable(outcome: Registered): void {
    switch (outcome.kind) {
      case 'registered': {
        const answer = Buffer.concat([registeredHeader, outcome.client.login])
        this.#answers.do(() => this.#connection.answer(answer))
        break
      }
      case 'name-taken':
        this.refused(new ProtocolError('name-taken', 'the name is taken'))
        break
      case 'directory-full':
        this.refused(new ProtocolError('directory-full', 'no more clients may register'))
    }
  }

  refused(error: Error): void {
    this.#connection.fail(error)
  }
}
