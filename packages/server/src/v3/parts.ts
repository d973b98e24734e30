import type { Archive } from '../archive.ts'
import type { ServerDeliveries } from './deliveries.ts'
import type { Ledgers } from './ledgers.ts'
import type { Recent } from './recent.ts'
import type { Reports } from './reports.ts'
import type { Clock, Contacts, Directory, Numbers, Sessions } from './services.ts'
import type { Shelf } from './shelf.ts'
import type { Strangers } from './strangers.ts'
import type { Trimming } from './trimming.ts'
import type { Turns } from './turns.ts'

/** What the operations on conversations work with. */
export interface Parts {
  readonly archive: Archive
  readonly directory: Directory
  readonly contacts: Contacts
  readonly numbers: Numbers
  readonly sessions: Sessions
  readonly clock: Clock
  readonly shelf: Shelf
  readonly ledgers: Ledgers
  readonly strangers: Strangers
  readonly deliveries: ServerDeliveries
  readonly trimming: Trimming
  readonly reports: Reports
  /** Conversations that came with accounts a moment ago, and may not be durable yet: by id, the account's key. */
  readonly founded: Recent<string>
  /** For what must happen one after the other: opening the conversation of a pair. */
  readonly turns: Turns
}
