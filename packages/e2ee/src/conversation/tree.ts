import type { RatchetTree } from 'ts-mls'
import { decodeOptional } from 'ts-mls/codec/optional.js'
import { decodeVarLenType } from 'ts-mls/codec/variableLength.js'
import { decodeNode, encodeRatchetTree, extendRatchetTree } from 'ts-mls/ratchetTree.js'
import { sameBytes } from '../bytes.ts'
import { mustHold } from './errors.ts'
import { mustBeCapable } from './extensions.ts'
import { limits } from './limits.ts'

// What a tree has to be before the engine walks it: on others it may not come to an end. CONVERSATIONS E 2

const decodeNodes = decodeVarLenType(decodeOptional(decodeNode))

/** The tree that these bytes are. Throws `malformed`; whatever the decoder throws is for the caller to turn. */
export function readTree(bytes: Uint8Array): RatchetTree {
  mustHold(bytes.length <= limits.handshakeBytesMax, 'malformed', `a tree of ${bytes.length} bytes`)
  const [nodes] = decodeNodes(new Uint8Array(bytes), 0) ?? []
  mustHold(nodes !== undefined, 'malformed', 'the bytes are no tree')
  mustBeWellFormed(nodes)
  mustHold(sameBytes(encodeRatchetTree(nodes), bytes), 'malformed', 'the tree is not written in the one way it may be')
  return extendRatchetTree(nodes)
}

function mustBeWellFormed(nodes: RatchetTree): void {
  mustHold(
    nodes.length % 2 === 1 && nodes.length <= limits.treeNodesMax,
    'malformed',
    `a tree of ${nodes.length} nodes`,
  )
  mustHold(nodes.at(-1) !== undefined, 'malformed', 'a tree ends with a leaf')
  nodes.forEach((node, index) => {
    if (node === undefined) return
    mustHold(
      node.nodeType === (index % 2 === 0 ? 'leaf' : 'parent'),
      'malformed',
      'a node in the place of another kind',
    )
    if (node.nodeType === 'leaf') mustBeCapable(node.leaf)
    else mustListLeaves(nodes, node.parent.unmergedLeaves)
  })
}

/** Strictly ascending, and each a leaf that is there. */
function mustListLeaves(nodes: RatchetTree, unmerged: readonly number[]): void {
  unmerged.forEach((leaf, i) => {
    mustHold(i === 0 || leaf > (unmerged[i - 1] ?? leaf), 'malformed', 'unmerged leaves out of order')
    mustHold(nodes[2 * leaf] !== undefined, 'malformed', 'an unmerged leaf that is not there')
  })
}

/** Throws `keys` if two nodes have one key, which the engine does not look for among what a commit brings. */
export function mustHaveDistinctKeys(tree: RatchetTree): void {
  const keys = keysOf(tree)
  mustHold(new Set(keys).size === keys.length, 'keys', 'two nodes of the tree have one key')
}

/** Throws `keys` if a key of a path stands anywhere in the tree before it, or twice in the path. */
export function mustBeNew(path: readonly Uint8Array[], tree: RatchetTree): void {
  const known = new Set(keysOf(tree))
  for (const key of path) {
    mustHold(!known.has(key.join()), 'keys', 'a key of the path is not new')
    known.add(key.join())
  }
}

/** The encryption keys of a tree, as text that can be compared. */
function keysOf(tree: RatchetTree): readonly string[] {
  return tree
    .filter((node) => node !== undefined)
    .map((node) => (node.nodeType === 'leaf' ? node.leaf.hpkePublicKey : node.parent.hpkePublicKey).join())
}
