import type { VerifiedList } from '../verifiedlist.ts'
import { judgeKeyPackage } from './offeredpackages.ts'
import type { Suite } from './suites.ts'

/** What a key package has to be for its device to be brought in. */
export interface WantedPackage {
  /** The newest lists that the one who adds knows, of the accounts to be added. */
  readonly lists: readonly VerifiedList[]
  readonly suite: Suite
  /** Milliseconds since 1970. */
  readonly now: number
}

/** Throws what `judgeKeyPackage` does, for whoever only wants to know: what that returns is the engine's. §5.4 */
export async function checkKeyPackage(offered: Uint8Array, wanted: WantedPackage): Promise<void> {
  await judgeKeyPackage(offered, wanted)
}
