/** What the engine as published never comes to the end of. Told by its message which; answers with how it ended. */

import { parentPort, workerData } from 'node:worker_threads'
import { createGroup, createGroupInfoWithExternalPub, generateKeyPackage, joinGroupExternal } from 'ts-mls'
import { applyProposals, validateRatchetTree } from 'ts-mls/clientState.js'
import { MlsError } from 'ts-mls/mlsError.js'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { engineConfig } from '../../src/conversation/epochs.ts'

const config = engineConfig(() => true)
const crypto = await cryptoOf('x25519')

function newPackage(name: number) {
  return generateKeyPackage(
    { credentialType: 'basic', identity: Uint8Array.of(name) },
    { versions: ['mls10'], ciphersuites: [crypto.name], extensions: [], proposals: [], credentials: ['basic'] },
    { notBefore: 0n, notAfter: 2n ** 62n },
    [],
    crypto,
  )
}

const alone = await newPackage(1)
const state = await createGroup(Uint8Array.of(1), alone.publicPackage, alone.privatePackage, [], crypto, config)

const loops: Record<string, () => Promise<unknown>> = {
  async 'an external commit that removes leaf 1000'() {
    await applyProposals(
      state,
      [
        { proposalOrRefType: 'proposal', proposal: { proposalType: 'remove', remove: { removed: 1000 } } },
        {
          proposalOrRefType: 'proposal',
          proposal: { proposalType: 'external_init', externalInit: { kemOutput: new Uint8Array(32) } },
        },
      ],
      undefined,
      { findPsk: () => undefined },
      false,
      crypto,
    )
  },
  async 'a tree in which leaf 1000 is unmerged'() {
    const [leaf] = state.ratchetTree
    const parent = { hpkePublicKey: new Uint8Array(32), parentHash: new Uint8Array(), unmergedLeaves: [1000] }
    const second = await newPackage(2)
    const tree = [
      leaf,
      { nodeType: 'parent' as const, parent },
      { nodeType: 'leaf' as const, leaf: second.publicPackage.leafNode },
    ]
    const { lifetimeConfig, authService } = config
    const error = await validateRatchetTree(
      tree,
      state.groupContext,
      lifetimeConfig,
      authService,
      new Uint8Array(32),
      crypto,
    )
    if (error !== undefined) throw error
  },
  async 'a resync of somebody who has no leaf'() {
    const { publicPackage, privatePackage } = await newPackage(3)
    const groupInfo = await createGroupInfoWithExternalPub(state, [], crypto)
    await joinGroupExternal(groupInfo, publicPackage, privatePackage, true, crypto, state.ratchetTree, config)
  },
}

const loop = loops[String(workerData)]
if (loop === undefined) throw new Error(`no loop is called ${workerData}`)
const ending = await loop().then(
  () => 'it was taken',
  // a path without an end may also end by filling the memory
  (error: unknown) => (error instanceof MlsError ? 'it was refused' : `it was ended by ${String(error)}`),
)
parentPort?.postMessage(ending)
