import { type AccountId, RefusedError } from '@messageu/protocol/v3'
import type { Asker } from './asker.ts'
import { sameBytes } from './bytes.ts'

// A server that goes on from a copy has forgotten the newest entries of device lists. They are signed, whoever brings
// them: a device that has seen them gives those of its own account back. Protocol 3 §5.3

/**
 * Gives back what the list has behind the server's newest entry. Where the server has another entry by now, or wants none,
 * nothing more is given: what it shows then is judged as any list.
 */
export async function giveBack(
  asker: Asker,
  account: AccountId,
  { entries, signal }: { entries: readonly Uint8Array[]; signal: AbortSignal },
): Promise<void> {
  const lost = await entriesLost(asker, account, { entries, signal })
  await appendAll(asker, 'append', { account, entries: lost, signal })
}

/** Those behind the server's list, if that is the beginning of this one. Each entry holds the hash of the one before. */
export async function entriesLost(
  asker: Asker,
  account: AccountId,
  { entries, signal }: { entries: readonly Uint8Array[]; signal: AbortSignal },
): Promise<readonly Uint8Array[]> {
  const { version } = await asker.request('read-list', { account, after: entries.length }, { signal })
  const last = entries[version - 1]
  if (last === undefined || version === entries.length) return []
  const page = await asker.request('read-list', { account, after: version - 1 }, { signal })
  const [newest] = page.entries
  return newest !== undefined && sameBytes(newest, last) ? entries.slice(version) : []
}

/** Whether the server has taken them all. */
export async function appendAll(
  asker: Asker,
  name: 'append' | 'recover',
  { account, entries, signal }: { account: AccountId; entries: readonly Uint8Array[]; signal: AbortSignal },
): Promise<boolean> {
  try {
    for (const entry of entries) await asker.request(name, { account, entry }, { signal })
    return true
  } catch (error) {
    if (!(error instanceof RefusedError) || error.retry === 'later') throw error
    return false
  }
}
