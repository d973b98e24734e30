import type { PublicKey } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { ArchiveContacts } from './contacts.ts'
import { openConversations } from './conversations.ts'
import { ArchiveDirectory } from './directory.ts'
import type { Handlers } from './dispatch.ts'
import { handlersWith } from './handlers.ts'
import { tellChanges } from './notices.ts'
import { GivenNumbers } from './numbers.ts'
import { RegistrationRates } from './registrationrates.ts'
import type { Clock, Policy, Random, Services, Sessions } from './services.ts'
import type { Schedule } from './trimming.ts'

export interface RulesOptions {
  readonly archive: Archive
  readonly sessions: Sessions
  readonly clock: Clock
  readonly schedule: Schedule
  readonly random: Random
  readonly policy: Policy
  readonly serverKey: PublicKey
  readonly failed: (what: string, error: unknown) => void
  /** Whether an address is this machine, whose programs may register as often as they like. */
  readonly isLocal: (remote: string) => boolean
}

/** Everything that decides, over one archive. Whatever it does by itself ends with it. */
export interface Rules extends Disposable {
  readonly services: Services
  readonly handlers: Handlers
  /** Accounts that were ever registered. */
  accounts(): number
}

export async function openRules(options: RulesOptions): Promise<Rules> {
  const { archive, sessions, clock, schedule, random, policy, serverKey, failed, isLocal } = options
  const numbers = await GivenNumbers.open(archive)
  const directory = new ArchiveDirectory({ archive, numbers, clock, random, policy, serverKey })
  const contacts = new ArchiveContacts(archive, directory)
  const open = await openConversations({ archive, directory, contacts, numbers, sessions, clock, schedule })
  const { conversations, deliveries, retention } = open
  retention.start((error) => failed('retention', error))
  tellChanges({ directory, conversations, sessions, failed })
  return {
    services: { directory, contacts, conversations, deliveries, sessions, clock, random, policy, serverKey },
    handlers: handlersWith(new RegistrationRates(clock, isLocal)),
    accounts: () => numbers.given('account'),
    [Symbol.dispose]: () => open[Symbol.dispose](),
  }
}
