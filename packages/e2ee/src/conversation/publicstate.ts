import { encode } from '@messageu/protocol'
import { type ClientState, createGroupInfoWithExternalPub, encodeMlsMessage } from 'ts-mls'
import { encodeRatchetTree } from 'ts-mls/ratchetTree.js'
import { cryptoOf } from './algorithms.ts'
import { standingsExtension } from './extensions.ts'
import { hashOf, Standings } from './shared.ts'
import type { Suite } from './suites.ts'

/** What the server keeps for whoever rejoins: the GroupInfo with the external key, and the tree apart. §6.7 */
export async function publicState(
  state: ClientState,
  standings: Standings,
  suite: Suite,
): Promise<{ readonly groupInfo: Uint8Array; readonly tree: Uint8Array }> {
  const groupInfo = await createGroupInfoWithExternalPub(state, standingsExtension(standings), await cryptoOf(suite))
  return {
    groupInfo: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_group_info', groupInfo }),
    tree: encodeRatchetTree(state.ratchetTree),
  }
}

export function standingsHash(standings: Standings) {
  return hashOf(encode(Standings, standings))
}
