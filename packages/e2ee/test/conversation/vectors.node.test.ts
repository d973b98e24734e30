import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import {
  acceptAll,
  bytesToBase64,
  type ClientState,
  decodeMlsMessage,
  type FramedContent,
  type GroupContext,
  joinGroup,
  makePskIndex,
  processMessage,
  type RatchetTree,
} from 'ts-mls'
import { validateRatchetTree } from 'ts-mls/clientState.js'
import { encodeCommit } from 'ts-mls/commit.js'
import { applyUpdatePathSecret } from 'ts-mls/createCommit.js'
import { verifyGroupInfoConfirmationTag, verifyGroupInfoSignature } from 'ts-mls/groupInfo.js'
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js'
import { unprotectPrivateMessage } from 'ts-mls/messageProtection.js'
import { unprotectPublicMessage } from 'ts-mls/messageProtectionPublic.js'
import { getCommitSecret } from 'ts-mls/pathSecrets.js'
import { mergePrivateKeyPaths, toPrivateKeyPath } from 'ts-mls/privateKeyPath.js'
import { encodeProposal } from 'ts-mls/proposal.js'
import { decodeRatchetTree, resolution } from 'ts-mls/ratchetTree.js'
import { createSecretTree } from 'ts-mls/secretTree.js'
import { treeHash, treeHashRoot } from 'ts-mls/treeHash.js'
import { toLeafIndex, toNodeIndex } from 'ts-mls/treemath.js'
import { applyUpdatePath, decodeUpdatePath } from 'ts-mls/updatePath.js'
import { decryptGroupInfo, decryptGroupSecrets } from 'ts-mls/welcome.js'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { engineConfig, messageKeyRetention } from '../../src/conversation/epochs.ts'
import { fromHex, toHex } from '../hex.ts'

// The vectors of the MLS working group for suite 1, on the engine as installed and with the algorithms as we give them
// to it. They lie beside the repository and not in it.

const folder = new URL('../../../../../shared/vectors/mls/', import.meta.url)
const skip = existsSync(folder) ? false : 'the vectors of the MLS working group are not beside this repository'
const crypto = await cryptoOf('x25519')
const config = engineConfig(() => true)

/** One file: each entry is a test. The file says what its entries are, hence the type parameter. */
function forEach<Entry>(file: string, body: (entry: Entry) => Promise<void>): void {
  describe(`vectors of ${file}`, { skip }, () => {
    if (skip !== false) return
    const entries = JSON.parse(readFileSync(new URL(`${file}.json`, folder), 'utf8')) as readonly Entry[]
    assert.ok(entries.length > 0)
    for (const [i, entry] of entries.entries()) test(`entry ${i}`, () => body(entry))
  })
}

function message(hex: string) {
  const [read, length] = decodeMlsMessage(fromHex(hex), 0) ?? []
  assert.ok(read !== undefined && length === hex.length / 2)
  return read
}

function keyPackageIn(hex: string) {
  const read = message(hex)
  assert.ok(read.wireformat === 'mls_key_package')
  return read.keyPackage
}

function welcomeIn(hex: string) {
  const read = message(hex)
  assert.ok(read.wireformat === 'mls_welcome')
  return read.welcome
}

function treeIn(hex: string): RatchetTree {
  const [tree] = decodeRatchetTree(fromHex(hex), 0) ?? []
  assert.ok(tree)
  return tree
}

interface PassiveClient {
  readonly external_psks: readonly { readonly psk_id: string; readonly psk: string }[]
  readonly key_package: string
  readonly signature_priv: string
  readonly encryption_priv: string
  readonly init_priv: string
  readonly welcome: string
  readonly ratchet_tree: string | null
  readonly initial_epoch_authenticator: string
  readonly epochs: readonly {
    readonly proposals: readonly string[]
    readonly commit: string
    readonly epoch_authenticator: string
  }[]
}

for (const file of ['passive-client-welcome', 'passive-client-handling-commit', 'passive-client-random'])
  forEach<PassiveClient>(file, async (entry) => {
    const psks = Object.fromEntries(
      entry.external_psks.map(({ psk_id, psk }) => [bytesToBase64(fromHex(psk_id)), fromHex(psk)]),
    )
    let state: ClientState = await joinGroup(
      welcomeIn(entry.welcome),
      keyPackageIn(entry.key_package),
      {
        initPrivateKey: fromHex(entry.init_priv),
        hpkePrivateKey: fromHex(entry.encryption_priv),
        signaturePrivateKey: fromHex(entry.signature_priv),
      },
      makePskIndex(undefined, psks),
      crypto,
      entry.ratchet_tree === null ? undefined : treeIn(entry.ratchet_tree),
      undefined,
      config,
    )
    assert.equal(toHex(state.keySchedule.epochAuthenticator), entry.initial_epoch_authenticator)
    for (const { proposals, commit, epoch_authenticator } of entry.epochs) {
      for (const hex of [...proposals, commit]) {
        const read = message(hex)
        assert.ok(read.wireformat === 'mls_public_message' || read.wireformat === 'mls_private_message')
        const { newState } = await processMessage(read, state, makePskIndex(state, psks), acceptAll, crypto)
        state = newState
      }
      assert.equal(toHex(state.keySchedule.epochAuthenticator), epoch_authenticator)
    }
  })

interface TreeValidation {
  readonly tree: string
  readonly group_id: string
  readonly tree_hashes: readonly string[]
  readonly resolutions: readonly (readonly number[])[]
}

forEach<TreeValidation>('tree-validation', async (entry) => {
  const tree = treeIn(entry.tree)
  for (const [node, hash] of entry.tree_hashes.entries())
    assert.equal(toHex(await treeHash(tree, toNodeIndex(node), crypto.hash)), hash)
  for (const [node, nodes] of entry.resolutions.entries())
    assert.deepEqual(resolution(tree, toNodeIndex(node)).map(Number), nodes)
  const root = await treeHashRoot(tree, crypto.hash)
  const context = contextOf({ group_id: entry.group_id, epoch: 0, confirmed_transcript_hash: '' }, root)
  const { lifetimeConfig, authService } = config
  assert.equal(await validateRatchetTree(tree, context, lifetimeConfig, authService, root, crypto), undefined)
})

interface TreeKem {
  readonly group_id: string
  readonly epoch: number
  readonly confirmed_transcript_hash: string
  readonly ratchet_tree: string
  readonly leaves_private: readonly {
    readonly index: number
    readonly encryption_priv: string
    readonly path_secrets: readonly { readonly node: number; readonly path_secret: string }[]
  }[]
  readonly update_paths: readonly {
    readonly sender: number
    readonly update_path: string
    readonly path_secrets: readonly (string | null)[]
    readonly commit_secret: string
    readonly tree_hash_after: string
  }[]
}

forEach<TreeKem>('treekem', async (entry) => {
  const tree = treeIn(entry.ratchet_tree)
  for (const { sender, update_path, path_secrets, commit_secret, tree_hash_after } of entry.update_paths) {
    const [path] = decodeUpdatePath(fromHex(update_path), 0) ?? []
    assert.ok(path)
    const after = await applyUpdatePath(tree, toLeafIndex(sender), path, crypto.hash)
    const hash = await treeHashRoot(after, crypto.hash)
    assert.equal(toHex(hash), tree_hash_after)
    for (const { index, encryption_priv, path_secrets: held } of entry.leaves_private) {
      if (index === sender) continue
      const own = { leafIndex: index, privateKeys: { [2 * index]: fromHex(encryption_priv) } }
      const secrets = Object.fromEntries(held.map(({ node, path_secret }) => [node, fromHex(path_secret)]))
      const keys = mergePrivateKeyPaths(await toPrivateKeyPath(secrets, index, crypto), own)
      const context = contextOf(entry, hash)
      const { nodeIndex, pathSecret } = await applyUpdatePathSecret(
        after,
        keys,
        toLeafIndex(sender),
        context,
        path,
        [],
        crypto,
      )
      assert.equal(toHex(pathSecret), path_secrets[index])
      const commitSecret = await getCommitSecret(after, toNodeIndex(nodeIndex), pathSecret, crypto.kdf)
      assert.equal(toHex(commitSecret), commit_secret)
    }
  }
})

interface MessageProtection {
  readonly group_id: string
  readonly epoch: number
  readonly tree_hash: string
  readonly confirmed_transcript_hash: string
  readonly signature_pub: string
  readonly encryption_secret: string
  readonly sender_data_secret: string
  readonly membership_key: string
  readonly proposal: string
  readonly proposal_priv: string
  readonly proposal_pub: string
  readonly commit: string
  readonly commit_priv: string
  readonly commit_pub: string
  readonly application: string
  readonly application_priv: string
}

forEach<MessageProtection>('message-protection', async (entry) => {
  const context = contextOf(entry, fromHex(entry.tree_hash))
  const key = fromHex(entry.signature_pub)
  for (const [hex, expected] of [
    [entry.proposal_priv, entry.proposal],
    [entry.commit_priv, entry.commit],
    [entry.application_priv, entry.application],
  ] as const) {
    const read = message(hex)
    assert.ok(read.wireformat === 'mls_private_message')
    const secretTree = await createSecretTree(2, fromHex(entry.encryption_secret), crypto.kdf)
    const { content } = await unprotectPrivateMessage(
      fromHex(entry.sender_data_secret),
      read.privateMessage,
      secretTree,
      [],
      context,
      messageKeyRetention,
      crypto,
      key,
    )
    assert.equal(toHex(innerOf(content.content)), expected)
  }
  for (const [hex, expected] of [
    [entry.proposal_pub, entry.proposal],
    [entry.commit_pub, entry.commit],
  ] as const) {
    const read = message(hex)
    assert.ok(read.wireformat === 'mls_public_message')
    const membershipKey = fromHex(entry.membership_key)
    const { content } = await unprotectPublicMessage(membershipKey, context, [], read.publicMessage, crypto, key)
    assert.equal(toHex(innerOf(content)), expected)
  }
})

interface OpenedWelcome {
  readonly init_priv: string
  readonly key_package: string
  readonly signer_pub: string
  readonly welcome: string
}

forEach<OpenedWelcome>('welcome', async (entry) => {
  const [welcome, keyPackage] = [welcomeIn(entry.welcome), keyPackageIn(entry.key_package)]
  const ref = await makeKeyPackageRef(keyPackage, crypto.hash)
  const key = await crypto.hpke.importPrivateKey(fromHex(entry.init_priv))
  const secrets = await decryptGroupSecrets(key, ref, welcome, crypto.hpke)
  assert.ok(secrets)
  const none = new Uint8Array(crypto.kdf.size)
  const groupInfo = await decryptGroupInfo(welcome, secrets.joinerSecret, none, crypto)
  assert.ok(groupInfo)
  assert.ok(await verifyGroupInfoSignature(groupInfo, fromHex(entry.signer_pub), crypto.signature))
  assert.ok(await verifyGroupInfoConfirmationTag(groupInfo, secrets.joinerSecret, none, crypto))
})

function contextOf(
  { group_id, epoch, confirmed_transcript_hash }: Pick<TreeKem, 'group_id' | 'epoch' | 'confirmed_transcript_hash'>,
  hash: Uint8Array,
): GroupContext {
  return {
    version: 'mls10',
    cipherSuite: crypto.name,
    groupId: fromHex(group_id),
    epoch: BigInt(epoch),
    treeHash: hash,
    confirmedTranscriptHash: fromHex(confirmed_transcript_hash),
    extensions: [],
  }
}

function innerOf(content: FramedContent): Uint8Array {
  switch (content.contentType) {
    case 'application':
      return content.applicationData
    case 'proposal':
      return encodeProposal(content.proposal)
    case 'commit':
      return encodeCommit(content.commit)
  }
}
