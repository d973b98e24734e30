import type { AccountId, ConversationId, DeviceId } from '@messageu/protocol/v3'
import { keyBytes } from '../store.ts'
import type { Errand } from './rows.ts'

const kinds = { departure: 1, copies: 2, unopened: 3, newcomer: 4, untitled: 5, verdict: 6 } as const satisfies Record<
  Errand['kind'],
  number
>

/** One errand of a kind for one account and conversation: whoever asks again replaces what was asked before. */
export function errandKey(kind: 'departure' | 'copies', conversation: ConversationId, account: AccountId): Uint8Array {
  return Uint8Array.of(kinds[kind], ...conversation, ...account)
}

/** One for each place of the history. */
export function unopenedKey(place: number): Uint8Array {
  return Uint8Array.of(kinds.unopened, ...keyBytes(place))
}

/** One for each device of the own account. */
export function newcomerKey(device: DeviceId): Uint8Array {
  return Uint8Array.of(kinds.newcomer, ...device)
}

/** One for each group. */
export function untitledKey(conversation: ConversationId): Uint8Array {
  return Uint8Array.of(kinds.untitled, ...conversation)
}

/** One for each account. */
export function verdictKey(account: AccountId): Uint8Array {
  return Uint8Array.of(kinds.verdict, ...account)
}
