import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { encodeRatchetTree } from 'ts-mls/ratchetTree.js'
import { limits } from '../../src/conversation/limits.ts'
import { readTree } from '../../src/conversation/tree.ts'
import { Room, World } from './world.ts'

/** The tree of two devices: two leaves with a parent between them. */
async function pair() {
  const world = new World('tree')
  const [alice, bob] = [await world.person('alice'), await world.person('bob')]
  const room = await Room.of(world, alice.phone, [bob.phone])
  const tree = readTree(room.shown.tree)
  return { tree, bytes: room.shown.tree }
}

const refusalOf = (bytes: Uint8Array): string => {
  try {
    readTree(bytes)
    return 'none'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

describe('S16: before the engine walks it, a tree is refused', () => {
  test('that ends between two leaves, or with a leaf that is not there', async () => {
    const { tree, bytes } = await pair()
    assert.equal(refusalOf(bytes), 'none')
    const parent = { nodeType: 'parent', parent: { hpkePublicKey: new Uint8Array(32).fill(7) } } as const
    const last = { ...parent, parent: { ...parent.parent, parentHash: new Uint8Array(), unmergedLeaves: [] } }
    assert.equal(refusalOf(encodeRatchetTree([...tree, last])), 'a tree of 4 nodes')
    const longer = [...bytes.subarray(2), 0, 0] // two blank nodes more, behind a length in two bytes
    const padded = Uint8Array.of(0x40 | (longer.length >> 8), longer.length & 0xff, ...longer)
    assert.equal(refusalOf(padded), 'a tree ends with a leaf')
  })

  test('that has a leaf which cannot do what a conversation needs, or does more', async () => {
    const { tree } = await pair()
    const [first] = tree
    assert.ok(first?.nodeType === 'leaf')
    const { leaf } = first
    const unable = { ...leaf, capabilities: { ...leaf.capabilities, extensions: [] } }
    const adorned = { ...leaf, extensions: [{ extensionType: 0xf0ff, extensionData: new Uint8Array(1) }] }
    const withLeaf = (other: typeof leaf) => encodeRatchetTree(tree.with(0, { nodeType: 'leaf', leaf: other }))
    assert.equal(refusalOf(withLeaf(unable)), 'a leaf cannot do what a conversation needs')
    assert.equal(refusalOf(withLeaf(adorned)), 'a leaf has extensions')
  })

  test('that has more leaves than a conversation has devices', async () => {
    const { tree } = await pair()
    const blanks = (count: number) => new Array<undefined>(count).fill(undefined)
    const [leaf] = tree
    const largest = [...tree, ...blanks(limits.treeNodesMax - tree.length - 1), leaf]
    assert.equal(refusalOf(encodeRatchetTree(largest)), 'none')
    const larger = [...tree, ...blanks(limits.treeNodesMax + 1 - tree.length), leaf]
    assert.equal(refusalOf(encodeRatchetTree(larger)), `a tree of ${limits.treeNodesMax + 2} nodes`)
  })

  test('that is larger than a frame brings, without being read', () => {
    const bytes = limits.handshakeBytesMax + 1
    assert.equal(refusalOf(new Uint8Array(bytes)), `a tree of ${bytes} bytes`)
  })
})
