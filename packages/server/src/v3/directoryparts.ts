import type { PublicKey } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import type { Accounts } from './accounts.ts'
import type { Calendar } from './calendar.ts'
import type { Invites } from './invites.ts'
import type { Names } from './names.ts'
import type { KeyPackageStock } from './packages.ts'
import type { Numbers, Policy } from './services.ts'
import type { Turns } from './turns.ts'

/** What the directory is made of. */
export interface DirectoryParts {
  readonly archive: Archive
  readonly accounts: Accounts
  readonly names: Names
  readonly invites: Invites
  readonly packages: KeyPackageStock
  readonly numbers: Numbers
  readonly turns: Turns
  readonly calendar: Calendar
  readonly policy: Policy
  readonly serverKey: PublicKey
}
