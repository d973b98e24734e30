import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountName } from '@messageu/protocol/v3'
import { ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { newConversation, newIdentity, Peer, random } from './peer.ts'

/** What is left of an account that was ended, as somebody else sees it. */
async function assertGone(bob: Peer, { alice, link }: { alice: Peer; link: string }): Promise<void> {
  const { name, account } = bob.identity
  assert.equal(await alice.ask('find', { after: accountName(name) }), undefined)
  assert.deepEqual((await alice.ask('people', { after: undefined })).people, [])
  const opening = { conversation: newConversation(), target: { kind: 'direct', body: account } } as const
  assert.equal(await alice.outcomeOf('open', opening), 'not-permitted')
  assert.equal(await alice.outcomeOf('claim', account), 'not-permitted')
  assert.equal((await alice.ask('read-list', { account, after: 0 })).version, 2, 'that it was ended stays to be seen')
  using back = new Peer(bob.identity, alice.port)
  await back.connect()
  assert.equal(await back.outcomeOf('prove', await back.proof()), 'unproved')
  using other = new Peer(await newIdentity(link, name), alice.port)
  await other.connect()
  assert.equal(await other.outcomeOf('register', other.registration), 'name-taken')
}

test('C16: an account that was ended has no session and no name any more, and others go on without it', async () => {
  await using folder = await temporaryFolder('memory')
  let identities: { alice: Peer['identity']; bob: Peer['identity'] }
  {
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    using alice = await Peer.register(server.link, 'alice')
    using bob = await Peer.register(server.link, 'bob')
    const conversation = await alice.groupWith(bob)
    await alice.send(conversation, random(100))
    using words = new Peer(bob.identity, server.http.port)
    await words.connect()
    await words.close()
    assert.equal(await bob.wire.closed, 1008)
    assert.deepEqual(
      bob.notices.map(({ kind }) => kind),
      ['delisted'],
    )
    await alice.until(() => alice.notices.some(({ kind, body }) => kind === 'list-changed' && body.version === 2))
    await assertGone(bob, { alice, link: server.link })
    await alice.send(conversation, random(100))
    await alice.ask('commit', alice.newCommit(conversation, 1, [alice.device]))
    assert.deepEqual((await alice.ask('read-state', { conversation })).roster, [alice.device])
    await alice.send(conversation, random(100), 2)
    identities = { alice: alice.identity, bob: bob.identity }
    await server.end('SIGKILL')
  }
  await using server = await ServerProcess.start({ folder: folder.of('server') })
  using alice = new Peer(identities.alice, server.http.port)
  await alice.reconnect()
  await assertGone(new Peer(identities.bob, server.http.port), { alice, link: server.link })
})
