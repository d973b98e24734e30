import type { Person } from '@messageu/protocol/v3'
import type { Account } from './services.ts'

/** What others see of an account. Protocol 3 §5.2. */
export function personOf({ id, name, list }: Account): Person {
  return { account: id, name, listVersion: list.version, listHash: list.hash }
}

/** Whether others see an account at all: it has not ended, and is not disabled. */
export function isPresent({ list, isDisabled }: Account): boolean {
  return !list.isClosed && !isDisabled
}
