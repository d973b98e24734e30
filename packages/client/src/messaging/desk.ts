import type { RandomBytes } from '@messageu/e2ee'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Clock } from '../clock.ts'
import type { Session } from '../session.ts'
import type { RowStore, Store } from '../store.ts'
import type { Bell } from '../waiting.ts'
import type { ConversationRow } from './rows.ts'
import { type Tools, Work } from './work.ts'

/** What it takes to act in conversations: the session, what is stored, and word of every change to it. */
export interface Desk {
  readonly session: Session
  readonly store: Store
  readonly tools: Tools
  readonly clock: Clock
  readonly random: RandomBytes
  /** Rings whenever something was stored. */
  readonly bell: Bell
  /** Whether everything that waited at the server has come in the session that is open. */
  readonly isCaughtUp: () => boolean
}

/** What it takes to look at what is stored. */
export type Kept = Pick<Desk, 'store' | 'tools'>

export interface Wait {
  readonly signal: AbortSignal
}

/** What is stored now, to look at or to decide on. */
export function look({ store, tools }: Kept, rows: RowStore = store): Work {
  return new Work(rows, tools)
}

export function rowOf(kept: Kept, conversation: ConversationId): Promise<ConversationRow | undefined> {
  return look(kept).conversation(conversation)
}
