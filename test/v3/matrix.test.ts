import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { removeDevice, verifyList } from '@messageu/e2ee'
import { decode, encode } from '@messageu/protocol'
import {
  accountName,
  type ConversationId,
  Hash,
  ListEntry,
  type OperationName,
  operations,
  Signature,
} from '@messageu/protocol/v3'
import { newConversation, newIdentity, Peer, type RequestOf, random } from './peer.ts'
import { Stage } from './stage.ts'

const names = Object.keys(operations) as OperationName[] // the table's own keys

/** Somebody's things, which others ask for. */
interface Target {
  readonly owner: Peer
  readonly conversation: ConversationId
  /** An entry that would take the owner's device off, with everything right but its signature. */
  readonly forged: Uint8Array
}

type Requests = { readonly [N in OperationName]: (target: Target, asker: Peer) => RequestOf<N> | Promise<RequestOf<N>> }

/** One request of each operation that would read or change what is the owner's. A missing one does not compile. */
const requests: Requests = {
  prove: ({ owner }, asker) => asker.proof({ device: owner.device }),
  register: ({ owner }) => ({ ...owner.registration, ownDevices: newConversation() }),
  recover: ({ owner, forged }) => ({ account: owner.account, entry: forged }),
  'read-list': ({ owner }) => ({ account: owner.account, after: 0 }),
  append: ({ owner, forged }) => ({ account: owner.account, entry: forged }),
  find: ({ owner }) => ({ after: accountName(owner.identity.name) }),
  people: () => ({ after: undefined }),
  publish: () => [],
  'count-packages': () => undefined,
  claim: ({ owner }) => owner.account,
  open: ({ owner }) => ({ conversation: newConversation(), target: { kind: 'direct', body: owner.account } }),
  create: ({ conversation }) => ({ conversation }),
  commit: ({ conversation }, asker) => asker.newCommit(conversation, 2, [asker.device]),
  send: ({ conversation }, asker) => asker.newSend(conversation, random(10), 2),
  recreate: ({ conversation }, asker) => ({ conversation, generation: 2, roster: [asker.device] }),
  'read-state': ({ conversation }) => ({ conversation }),
  'read-tree': ({ conversation }) => ({ conversation, treeHash: decode(Hash, random(32)) }),
  leave: ({ conversation }) => ({ conversation }),
  stuck: ({ conversation }) => ({ conversation, generation: 1, epoch: 2 }),
  explain: ({ conversation }) => ({ conversation, from: 1, through: 1 }),
  conversations: () => ({ after: undefined }),
  credit: () => ({ messages: 1, bytes: 1 }),
  acknowledge: () => ({ through: 2 ** 40 }),
  requests: () => undefined,
  judge: ({ owner }) => ({ account: owner.account, verdict: 'refuse' }),
  invite: () => ({ isAdmin: true }),
  accounts: () => ({ after: undefined }),
  'set-account': ({ owner }) => ({ kind: 'disabled', body: { account: owner.account, isDisabled: true } }),
}

/**
 * What is answered to somebody without a proof, to somebody who has nothing to do with it, and to somebody who was a
 * member once. Nobody but an administrator may `invite`, `accounts` and `set-account`, and here nobody is one. `done`
 * stands where the answer is public, or is about the asker's own things only.
 */
// biome-ignore format: the columns are the point
const expected: Readonly<Record<OperationName, readonly [noProof: string, otherUser: string, exMember: string]>> = {
  prove:            ['unproved',      'not-permitted', 'not-permitted'],
  register:         ['not-permitted', 'not-permitted', 'not-permitted'],
  recover:          ['bad-list',      'bad-list',      'bad-list'],
  'read-list':      ['done',          'done',          'done'],
  append:           ['unproved',      'not-permitted', 'not-permitted'],
  find:             ['unproved',      'done',          'done'],
  people:           ['unproved',      'done',          'done'],
  publish:          ['unproved',      'done',          'done'],
  'count-packages': ['unproved',      'done',          'done'],
  claim:            ['unproved',      'done',          'done'],
  open:             ['unproved',      'done',          'done'],
  create:           ['unproved',      'conversation-exists', 'conversation-exists'],
  commit:           ['unproved',      'not-permitted', 'not-permitted'],
  send:             ['unproved',      'not-permitted', 'not-permitted'],
  recreate:         ['unproved',      'not-permitted', 'not-permitted'],
  'read-state':     ['unproved',      'not-permitted', 'not-permitted'],
  'read-tree':      ['unproved',      'not-permitted', 'not-permitted'],
  leave:            ['unproved',      'not-permitted', 'not-permitted'],
  stuck:            ['unproved',      'not-permitted', 'not-permitted'],
  explain:          ['unproved',      'not-permitted', 'not-permitted'],
  conversations:    ['unproved',      'done',          'done'],
  credit:           ['unproved',      'done',          'done'],
  acknowledge:      ['unproved',      'not-permitted', 'not-permitted'],
  requests:         ['unproved',      'done',          'done'],
  judge:            ['unproved',      'done',          'done'],
  invite:           ['unproved',      'not-permitted', 'not-permitted'],
  accounts:         ['unproved',      'not-permitted', 'not-permitted'],
  'set-account':    ['unproved',      'not-permitted', 'not-permitted'],
}

suite('C02, C04: every request of the table, asked by those who may not', () => {
  let stage: Stage
  let target: Target
  let exMember: Peer
  let revoked: Peer
  before(async () => {
    stage = await Stage.start()
    const { alice: owner, bob } = stage
    exMember = await stage.person()
    const conversation = await owner.groupWith(bob, exMember)
    await owner.ask('commit', owner.newCommit(conversation, 1, [owner.device, bob.device]))
    const list = await verifyList((await owner.ask('read-list', { account: owner.account, after: 0 })).entries)
    const right = decode(ListEntry, await removeDevice(list, owner.identity.managerKey, owner.device))
    const forged = encode(ListEntry, { ...right, signature: decode(Signature, random(64)) })
    target = { owner, conversation, forged }
    revoked = await bob.sibling()
    await revoked.reconnect()
    await bob.takeOff(revoked.device)
    assert.equal(await revoked.wire.closed, 1008)
  })
  after(() => stage[Symbol.asyncDispose]())

  /** The conversation and the lists of those to whom it belongs, as they see them. */
  async function possessions(): Promise<unknown> {
    const { owner, conversation } = target
    return {
      state: await owner.ask('read-state', { conversation }),
      list: await owner.ask('read-list', { account: owner.account, after: 0 }),
      packages: await owner.ask('count-packages', undefined),
      conversations: (await owner.ask('conversations', { after: undefined })).conversations.filter(
        ({ kind }) => kind === 'group',
      ),
    }
  }

  for (const name of names) {
    const [noProof, otherUser, former] = expected[name]

    test(`${name} without a proof: ${noProof}`, async () => {
      using nobody = new Peer(await newIdentity(stage.server.link, 'nobody'), stage.port)
      const untouched = await possessions()
      await nobody.connect()
      assert.equal(await outcome(name, nobody), noProof)
      assert.deepEqual(await possessions(), untouched)
    })

    test(`${name} by another user: ${otherUser}, by an ex-member: ${former}`, async () => {
      const untouched = await possessions()
      using stranger = await stage.person()
      assert.equal(await outcome(name, stranger), otherUser)
      assert.equal(await outcome(name, exMember), former)
      assert.deepEqual(await possessions(), untouched)
    })

    test(`${name} by a device that was taken off its list: never in a session`, async () => {
      const untouched = await possessions()
      const { number, bytes } = revoked.frame(name, await requestFor(name, exMember))
      await revoked.connect()
      const proof = revoked.frame('prove', await revoked.proof())
      const answers = [revoked.answerTo(proof.number), revoked.answerTo(number)]
      revoked.wire.send(proof.bytes, bytes)
      const [ofProof, ofRequest] = await Promise.allSettled(answers)
      assert(ofProof?.status === 'rejected')
      assert.equal(ofProof.reason.reason, 'unproved')
      assert.equal(ofRequest?.status, 'rejected')
      assert.equal(await revoked.wire.closed, 1008)
      assert.deepEqual(await possessions(), untouched)
    })
  }

  test('what does not exist is answered like what is another’s (I8)', async () => {
    using stranger = await stage.person()
    const nowhere: Target = { ...target, conversation: newConversation() }
    const about = ['commit', 'send', 'recreate', 'read-state', 'read-tree', 'leave', 'stuck', 'explain'] as const
    for (const name of about) {
      const [there, not] = [await refusalOf(name, stranger, target), await refusalOf(name, stranger, nowhere)]
      assert.deepEqual(there, not, name)
    }
    await stage.unharmed()
  })

  async function refusalOf<N extends OperationName>(name: N, asker: Peer, of: Target): Promise<unknown> {
    const refused = await asker.ask(name, await requests[name](of, asker)).catch((error: unknown) => error)
    assert(refused instanceof Error && 'reason' in refused)
    return { reason: refused.reason, message: refused.message }
  }

  async function requestFor<N extends OperationName>(name: N, asker: Peer): Promise<RequestOf<N>> {
    return requests[name](target, asker)
  }

  async function outcome<N extends OperationName>(name: N, asker: Peer): Promise<string> {
    return asker.outcomeOf(name, await requestFor(name, asker))
  }
})
