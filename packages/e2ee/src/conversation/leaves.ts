import { decode } from '@messageu/protocol'
import { PublicKey } from '@messageu/protocol/v3'
import type { LeafNode, RatchetTree } from 'ts-mls'
import { mustHold } from './errors.ts'
import type { Claim, Leaf } from './members.ts'
import { LeafIdentity } from './shared.ts'

/** The leaves of a tree from left to right. */
export function leavesOf(tree: RatchetTree): readonly Leaf[] {
  const leaves: Leaf[] = []
  tree.forEach((node, index) => {
    if (node?.nodeType === 'leaf') leaves.push({ leaf: index / 2, ...claimOf(node.leaf) })
  })
  return leaves
}

export function claimOf(leaf: LeafNode): Claim {
  mustHold(leaf.credential.credentialType === 'basic', 'malformed', 'a leaf has another kind of credential')
  return {
    identity: decode(LeafIdentity, leaf.credential.identity),
    signatureKey: decode(PublicKey, leaf.signaturePublicKey),
  }
}
