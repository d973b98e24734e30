import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  acceptAll,
  type ClientState,
  createCommit,
  createGroup,
  decodeMlsMessage,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  type Proposal,
  processPublicMessage,
  type RatchetTree,
} from 'ts-mls'
import { validateRatchetTree } from 'ts-mls/clientState.js'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { engineConfig } from '../../src/conversation/epochs.ts'
import { seeded } from '../seeded.ts'

// The engine by itself, as installed: what `patches/` corrects has to be corrected. CONVERSATIONS E 1

const config = engineConfig(() => true)
const crypto = await cryptoOf('x25519')
const capabilities = {
  versions: ['mls10' as const],
  ciphersuites: [crypto.name],
  extensions: [],
  proposals: [],
  credentials: ['basic' as const],
}

function newPackage(name: number) {
  const credential = { credentialType: 'basic' as const, identity: Uint8Array.of(name) }
  return generateKeyPackage(credential, capabilities, { notBefore: 0n, notAfter: 2n ** 62n }, [], crypto)
}

/** `by` commits, everybody else follows, and whoever is added joins by the tree. */
async function commit(states: ClientState[], by: number, proposals: readonly Proposal[] = []) {
  const before = states[by]
  assert.ok(before)
  const made = await createCommit(
    { state: before, pskIndex: emptyPskIndex, cipherSuite: crypto },
    { wireAsPublicMessage: true, extraProposals: [...proposals] },
  )
  const [message] = decodeMlsMessage(encodeMlsMessage(made.commit), 0) ?? []
  assert.ok(message?.wireformat === 'mls_public_message')
  for (const [member, state] of states.entries()) {
    if (member === by) continue
    const followed = await processPublicMessage(state, message.publicMessage, emptyPskIndex, crypto, acceptAll)
    states[member] = followed.newState
  }
  states[by] = made.newState
  return made
}

async function add(states: ClientState[], by: number) {
  const { publicPackage, privatePackage } = await newPackage(states.length)
  const { welcome, newState } = await commit(states, by, [{ proposalType: 'add', add: { keyPackage: publicPackage } }])
  assert.ok(welcome)
  const tree = newState.ratchetTree
  const joined = joinGroup(welcome, publicPackage, privatePackage, emptyPskIndex, crypto, tree, undefined, config)
  states.push(await joined)
}

async function groupOf(members: number): Promise<ClientState[]> {
  const { publicPackage, privatePackage } = await newPackage(0)
  const states = [await createGroup(Uint8Array.of(1), publicPackage, privatePackage, [], crypto, config)]
  while (states.length < members) await add(states, 0)
  return states
}

const removing = (removed: number): Proposal => ({ proposalType: 'remove', remove: { removed } })

function inStep(states: readonly ClientState[]): void {
  const authenticators = states.map(({ keySchedule }) => keySchedule.epochAuthenticator)
  for (const authenticator of authenticators) assert.deepEqual(authenticator, authenticators[0])
}

test('the ninth device joins although two parents list different unmerged leaves', async () => {
  const states = await groupOf(7)
  await commit(states, 4)
  await add(states, 0)
  await commit(states, 0)
  await add(states, 0)
  assert.equal(states.length, 9)
  inStep(states)
})

test('a device joins although a parent above it lists more unmerged leaves than the one above that', async () => {
  const all = await groupOf(5)
  await commit(all, 0, [1, 3].map(removing))
  const states = all.filter((_, leaf) => leaf !== 1 && leaf !== 3)
  const [first, last] = [0, 2]
  await add(states, first)
  await commit(states, last)
  await add(states, first)
  const [{ ratchetTree } = assert.fail()] = states
  const unmerged = [3, 7].map((node) => {
    const parent = ratchetTree[node]
    return parent?.nodeType === 'parent' && parent.parent.unmergedLeaves
  })
  assert.deepEqual(unmerged, [[1, 3], [3]])
  inStep(states)
})

test('S16: a tree in which a parent lists a leaf as unmerged that is not below it is refused for that', async () => {
  const states = await groupOf(4)
  await commit(states, 0)
  const [{ ratchetTree, groupContext } = assert.fail()] = states
  const [, parent] = ratchetTree
  assert.ok(parent?.nodeType === 'parent')
  const elsewhere = { ...parent, parent: { ...parent.parent, unmergedLeaves: [2] } }
  const { lifetimeConfig, authService } = config
  const refusalOf = async (tree: RatchetTree) =>
    (await validateRatchetTree(tree, groupContext, lifetimeConfig, authService, groupContext.treeHash, crypto))?.message
  assert.equal(await refusalOf(ratchetTree), undefined)
  const refusal = 'Unmerged leaf did not represent a non-blank descendant leaf node'
  assert.equal(await refusalOf(ratchetTree.with(1, elsewhere)), refusal)
})

describe('what we compute in place of the engine is what it computes itself', () => {
  for (const suite of ['x25519', 'x-wing'] as const)
    test(`with ${suite}`, async () => {
      const ours = await cryptoOf(suite)
      const theirs = await getCiphersuiteImpl(getCiphersuiteFromName(ours.name))
      assert.equal(ours.kdf.size, theirs.kdf.size)
      const random = seeded(`engine ${suite}`)
      for (const length of [0, 1, 40, 127, 128, 700, 5000]) {
        const data = random(length)
        assert.deepEqual(await ours.hash.digest(data), await theirs.hash.digest(data))
        const secret = await ours.kdf.extract(random(ours.kdf.size), data)
        for (const bytes of [1, 12, ours.kdf.size, 3 * ours.kdf.size])
          assert.deepEqual(await ours.kdf.expand(secret, data, bytes), await theirs.kdf.expand(secret, data, bytes))
      }
      const [salt, data] = [random(ours.kdf.size), random(50)]
      for (const each of [salt, new Uint8Array()])
        assert.deepEqual(await ours.kdf.extract(each, data), await theirs.kdf.extract(each, data))
      const [seed, other] = [random(32), random(32)]
      for (const key of [seed, other, seed])
        assert.deepEqual(await ours.signature.sign(key, data), await theirs.signature.sign(key, data))
    })
})
