import { decode } from '@messageu/protocol'
import type { GroupInfo, RatchetTree } from 'ts-mls'
import { sameBytes } from '../bytes.ts'
import { suiteNamed } from './algorithms.ts'
import { census, listsForCensus } from './census.ts'
import { mustHold, refusing } from './errors.ts'
import { readRules, readStandings } from './extensions.ts'
import { sameGroup } from './handshakes.ts'
import type { Situation } from './judge.ts'
import { leavesOf } from './leaves.ts'
import type { KnownLists, NeedsLists } from './lists.ts'
import type { Member } from './members.ts'
import { GroupId, LeafIdentity } from './shared.ts'
import { mustHaveDistinctKeys, readTree } from './tree.ts'

/** A conversation as a GroupInfo and a tree show it to somebody who is not in it. The engine has not verified it yet. */
export interface Survey extends Situation {
  readonly kind: 'survey'
  readonly tree: RatchetTree
  readonly signer: Member
}

/** Who is there, and by which rules. Throws what is wrong with it. §6.10 */
export async function survey(
  { groupInfo, tree: bytes, expected }: { groupInfo: GroupInfo; tree: Uint8Array; expected: GroupId },
  { isExternal, lists }: { isExternal: boolean; lists: KnownLists },
): Promise<Survey | NeedsLists> {
  const shown = await refusing('malformed', 'the conversation that is shown cannot be read', () => {
    const tree = readTree(bytes)
    return {
      tree,
      id: decode(GroupId, groupInfo.groupContext.groupId),
      rules: readRules(groupInfo.groupContext),
      standings: readStandings(groupInfo.extensions, { isExternal }),
      leaves: leavesOf(tree),
    }
  })
  const { tree, id, rules, standings, leaves } = shown
  mustHold(sameGroup(id, expected), 'misdirected', 'it is another conversation')
  const suite = suiteNamed(groupInfo.groupContext.cipherSuite)
  mustHold(suite !== undefined, 'other-suite', 'a conversation of a suite that is not used here')
  mustHaveDistinctKeys(tree)
  const missing = listsForCensus(leaves, standings, lists)
  if (missing.length > 0) return { kind: 'needs', lists: missing }
  const members = census(leaves, { standings, rules, suite }, lists)
  const signer = members.find(({ leaf }) => leaf === groupInfo.signer)
  mustHold(signer !== undefined, 'malformed', 'the signer is no leaf of the tree')
  return {
    kind: 'survey',
    suite,
    id,
    epoch: Number(groupInfo.groupContext.epoch),
    rules,
    members,
    standings,
    tree,
    signer,
  }
}

/** Which credentials the engine may find in a tree. */
export function isAmong(
  members: readonly Omit<Member, 'leaf'>[],
): (credential: Uint8Array, key: Uint8Array) => boolean {
  return (credential, key) => {
    const { device, list } = decode(LeafIdentity, credential)
    const member = members.find((each) => sameBytes(each.device, device))
    return member !== undefined && sameBytes(member.account, list.account) && sameBytes(member.signatureKey, key)
  }
}
