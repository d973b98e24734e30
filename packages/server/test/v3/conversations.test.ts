import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { decode, ProtocolError } from '@messageu/protocol'
import {
  type ConversationId,
  type Current,
  DeliveredCommit,
  DeliveredWelcome,
  type Hash,
  limits,
  RefusedError,
} from '@messageu/protocol/v3'
import { messagesIn } from '../../src/storage/stepsize.ts'
import type { RequestOf } from '../../src/v3/services.ts'
import {
  ConversationsWorld,
  newConversationId,
  newSendId,
  type Phone,
  refusal,
  settled,
  text,
  until,
} from './conversationsworld.ts'

/** What a refusal says about how things are by now. */
async function currentOf(
  asked: Promise<unknown>,
  reason: string,
): Promise<Extract<Current, { kind: 'epoch' }>['body']> {
  try {
    await asked
  } catch (error) {
    assert(error instanceof RefusedError && error.reason === reason && error.current.kind === 'epoch', String(error))
    return error.current.body
  }
  throw new Error('it was not refused')
}

const hashOf = (tree: Uint8Array): Hash => Uint8Array.from(createHash('sha256').update(tree).digest()) as Hash

const direct = (other: Phone, conversation: ConversationId = newConversationId()) => ({
  conversation,
  target: { kind: 'direct' as const, body: other.account.id },
})

for (const kind of ['memory', 'sqlite'])
  describe(`conversations on ${kind}`, () => {
    test('of two that open at once, the second gets the conversation of the first', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [bob]] = [world.person('alice'), world.person('bob')] as [[Phone], [Phone]]
      const [one, other] = await Promise.all([alice.ask('open', direct(bob)), bob.ask('open', direct(alice))])
      assert.deepEqual(other.conversation, one.conversation)
      assert.deepEqual([one.isNew, other.isNew], [true, false])
      await world.restart()
      const again = await bob.ask('open', direct(alice))
      assert.deepEqual(again, { conversation: one.conversation, generation: 1, isNew: false })
    })

    test('notes to oneself are one conversation per account', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[phone, tablet], [bob]] = [world.person('alice', 2), world.person('bob')] as [[Phone, Phone], [Phone]]
      const notes = (): RequestOf<'open'> => ({
        conversation: newConversationId(),
        target: { kind: 'self', body: undefined },
      })
      const first = await phone.ask('open', notes())
      assert.equal(first.isNew, true)
      assert.deepEqual((await tablet.ask('open', notes())).conversation, first.conversation)
      assert.notDeepEqual((await bob.ask('open', notes())).conversation, first.conversation)
    })

    test('C04: an id that is in use opens nothing else', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [bob], [eve]] = [world.person('a'), world.person('b'), world.person('e')] as [
        [Phone],
        [Phone],
        [Phone],
      ]
      const group = await world.group(alice)
      world.regards(eve.account, bob.account, 'stranger')
      await assert.rejects(bob.ask('open', direct(eve, group)), refusal('conversation-exists'))
      assert.equal(world.requests.length, 0)
      await assert.rejects(bob.ask('create', { conversation: group }), refusal('conversation-exists'))
      await world.restart()
      await assert.rejects(bob.ask('create', { conversation: group }), refusal('conversation-exists'))
      const { conversations } = world.open
      const founding = newConversationId()
      conversations.founding(alice.account, alice.device, founding)
      assert.throws(() => conversations.founding(bob.account, bob.device, founding), refusal('conversation-exists'))
      await assert.rejects(eve.ask('create', { conversation: founding }), refusal('conversation-exists'))
    })

    test('creating a group again is answered as before while it is empty', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, tablet] = world.person('alice', 2) as [Phone, Phone]
      const conversation = newConversationId()
      const [first, second] = await Promise.all([
        alice.ask('create', { conversation }),
        alice.ask('create', { conversation }).catch((error: unknown) => error),
      ])
      assert.deepEqual(first, { conversation, generation: 1, isNew: true })
      assert(second instanceof RefusedError || (second as { isNew: boolean }).isNew === false)
      assert.equal((await alice.ask('create', { conversation })).isNew, false)
      await assert.rejects(tablet.ask('create', { conversation }), refusal('conversation-exists'))
      await alice.commit(conversation, [alice, tablet])
      await assert.rejects(alice.ask('create', { conversation }), refusal('conversation-exists'))
    })

    test('opening towards a stranger is a request, and towards one who blocked nothing is there', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [bob], [eve]] = [world.person('a'), world.person('b'), world.person('e')] as [
        [Phone],
        [Phone],
        [Phone],
      ]
      world.regards(bob.account, alice.account, 'stranger')
      world.regards(alice.account, bob.account, 'stranger')
      world.regards(bob.account, eve.account, 'blocked')
      const line = await bob.connect()
      const { conversation } = await alice.ask('open', direct(bob))
      assert.deepEqual(
        world.requests.map(({ from, to }) => [from.name, to.name]),
        [['a', 'b']],
      )
      assert.deepEqual(world.requests[0]?.request.conversation, conversation)
      assert.deepEqual(
        line.notices.map(({ kind }) => kind),
        ['request'],
      )
      assert.equal(world.regardOf(alice.account, bob.account), 'accepted', 'whoever asks has accepted the other')
      await assert.rejects(eve.ask('open', direct(bob)), refusal('not-permitted'))
      const [nobody] = world.person('nobody') as [Phone]
      nobody.account.isDisabled = true
      await assert.rejects(eve.ask('open', direct(nobody)), refusal('not-permitted'))
      await assert.rejects(eve.ask('open', direct(eve)), refusal('malformed'))
    })

    test('an account is in so many conversations and no more, those under way included', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      await alice.ask('open', direct(bob))
      const ledger = await world.open.conversations.parts.ledgers.of(alice.account)
      const rest = { kind: 'group' as const, isMember: true, isCreator: false, handshakeBytes: 0 }
      for (let number = 1_000_000; ledger.members < limits.conversationsPerAccountMax - 1; number++)
        ledger.set(number, { ...rest, conversation: newConversationId() })
      const outcomes = await Promise.allSettled([1, 2, 3].map(() => world.group(alice)))
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
      const carol = world.person('carol')[0] as Phone
      const group = await world.group(carol)
      await assert.rejects(carol.commit(group, [carol, alice]), refusal('limited'))
    })

    test('a commit takes effect in one step: roster, epoch, state, commit and Welcomes', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      await bob.connect()
      await carol.connect()
      const conversation = await world.group(alice, bob)
      const commit = alice.proposal(conversation, [alice, bob, carol])
      const accepted = await alice.ask('commit', commit)
      assert.equal(accepted.sequence, 2)
      await until(() => bob.line.heard.length === 3 && carol.line.heard.length === 2)

      const [welcome, added] = carol.line.heard
      assert(welcome && added)
      assert.deepEqual([welcome.kind, welcome.sequence, added.kind, added.sequence], ['welcome', 2, 'commit', 2])
      assert.equal(added.position, accepted.position)
      const treeHash = Uint8Array.from(createHash('sha256').update(commit.tree).digest())
      assert.deepEqual(decode(DeliveredWelcome, welcome.sealed), {
        epoch: 2,
        sender: alice.id,
        treeHash,
        welcome: text('welcome to epoch 2'),
      })
      assert.deepEqual(decode(DeliveredCommit, bob.line.heard.at(-1)?.sealed as Uint8Array), {
        epoch: 1,
        sender: alice.id,
        id: commit.id,
        commit: commit.commit,
        roster: [alice.id, bob.id, carol.id],
      })
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([alice, bob, carol])
        assert.deepEqual(await carol.ask('read-state', { conversation }), {
          kind: 'group',
          generation: 1,
          epoch: 2,
          floor: 0,
          sequence: 2,
          roster: [alice.id, bob.id, carol.id],
          groupInfo: commit.groupInfo,
          treeHash,
        })
        assert.deepEqual(await carol.ask('read-tree', { conversation, treeHash: treeHash as Hash }), {
          tree: commit.tree,
        })
      }
      const older = Uint8Array.from(createHash('sha256').update('another').digest()) as Hash
      await assert.rejects(carol.ask('read-tree', { conversation, treeHash: older }), refusal('not-permitted'))
    })

    test('a tree is there for whoever its commit has brought in, however many come meanwhile, and then goes', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol, dave] = ['a', 'b', 'c', 'd'].flatMap((name) => world.person(name)) as [
        Phone,
        Phone,
        Phone,
        Phone,
      ]
      const conversation = await world.group(alice)
      const adding = alice.proposal(conversation, [alice, bob])
      const wanted = { conversation, treeHash: hashOf(adding.tree) }
      await alice.ask('commit', adding)
      await alice.commit(conversation, [alice, bob, carol])
      for (let i = 0; i < 3; i++) await alice.commit(conversation, [alice, bob, carol])
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([alice])
        assert.deepEqual(await bob.ask('read-tree', wanted), { tree: adding.tree })
        await assert.rejects(dave.ask('read-tree', wanted), refusal('not-permitted'))
      }
      await bob.connect()
      await until(() => bob.line.heard.length > 0)
      await bob.acknowledge()
      await world.trim()
      await alice.commit(conversation, [alice, bob, carol])
      await assert.rejects(bob.ask('read-tree', wanted), refusal('not-permitted'))
    })

    test('I1: a tree is there for whoever was brought in and taken out while away, and for nobody else outside', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice)
      const adding = alice.proposal(conversation, [alice, bob])
      const wanted = { conversation, treeHash: hashOf(adding.tree) }
      await alice.ask('commit', adding)
      await alice.commit(conversation, [alice])
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([alice])
        assert.deepEqual(await bob.ask('read-tree', wanted), { tree: adding.tree })
        await assert.rejects(carol.ask('read-tree', wanted), refusal('not-permitted'))
      }
      await bob.connect()
      await until(() => bob.line.heard.length > 0)
      await bob.acknowledge()
      await world.trim()
      await alice.commit(conversation, [alice])
      await assert.rejects(bob.ask('read-tree', wanted), refusal('not-permitted'))
    })

    test('C12: trees that nobody fetches are bounded together, count in the quota, and go with their generation', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, ...others] = ['a', 'b', 'c', 'd'].flatMap((name) => world.person(name)) as [Phone, ...Phone[]]
      const conversation = await world.group(alice)
      const wanted: { conversation: ConversationId; treeHash: Hash }[] = []
      const roster = [alice]
      for (const other of others) {
        roster.push(other)
        const tree = new Uint8Array(1.5 * 2 ** 20).fill(roster.length)
        wanted.push({ conversation, treeHash: hashOf(tree) })
        await alice.commit(conversation, roster, { tree })
      }
      await alice.commit(conversation, roster)
      const [first, ...later] = wanted as [(typeof wanted)[0], ...typeof wanted]
      await assert.rejects(alice.ask('read-tree', first), refusal('not-permitted'))
      for (const each of later) assert.equal((await alice.ask('read-tree', each)).tree.length, 1.5 * 2 ** 20)
      const ledger = await world.open.conversations.parts.ledgers.of(alice.account)
      assert.ok(ledger.storedBytes > 3 * 2 ** 20)
      await alice.ask('recreate', { conversation, generation: 2, roster: roster.map(({ id }) => id) })
      for (const each of wanted) await assert.rejects(alice.ask('read-tree', each), refusal('not-permitted'))
      assert.ok(ledger.storedBytes < 2 ** 20)
    })

    test('C13: of twenty commits at once one wins, and the others learn which', async () => {
      await using world = await ConversationsWorld.start(kind)
      const phones = Array.from({ length: 4 }, (_, i) => world.person(`p${i}`, 5)).flat() as [Phone, ...Phone[]]
      const conversation = await world.group(...phones)
      const outcomes = await Promise.allSettled(phones.map((phone) => phone.commit(conversation, phones)))
      const won = outcomes.filter((each) => each.status === 'fulfilled').map(({ value }) => value)
      assert.deepEqual(
        won.map(({ sequence }) => sequence),
        [2],
      )
      for (const each of outcomes)
        if (each.status === 'rejected') {
          assert(each.reason instanceof RefusedError && each.reason.reason === 'stale-epoch')
          assert.deepEqual(each.reason.current, { kind: 'epoch', body: { generation: 1, epoch: 2, sequence: 2 } })
        }
    })

    test('C13: a commit of another epoch or generation changes nothing, and tells what is current', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('a'), ...world.person('b')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      for (const epoch of [0, 2, 3])
        assert.deepEqual(await currentOf(bob.commit(conversation, [alice, bob], { epoch }), 'stale-epoch'), {
          generation: 1,
          epoch: 1,
          sequence: 1,
        })
      for (const generation of [0, 2])
        await currentOf(bob.commit(conversation, [alice, bob], { generation }), 'stale-generation')
      assert.equal((await bob.ask('read-state', { conversation })).sequence, 1)
    })

    test('C13: whoever would lose against a commit that is under way waits for its outcome, and wins if it fails', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('a'), ...world.person('b')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      const { archive } = world
      const take = archive.take.bind(archive)
      const outcome = Promise.withResolvers<never>()
      archive.take = (_, { refused }) => void outcome.promise.catch(refused)
      const one = alice.commit(conversation, [alice, bob])
      await settled()
      archive.take = take
      let isAnswered = false
      const other = bob.commit(conversation, [alice, bob]).finally(() => {
        isAnswered = true
      })
      await settled()
      assert.equal(isAnswered, false)
      outcome.reject(new ProtocolError('storage-full', 'as the test wants it'))
      await assert.rejects(one, refusal('storage-full'))
      assert.equal((await other).sequence, 2)
      assert.equal((await alice.ask('read-state', { conversation })).epoch, 2)
    })

    test('a step that fails takes back all that was built on it, and no sequence is left out', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['a', 'b'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'zero')
      await bob.connect()
      let left = 1
      world.failing = (step) => messagesIn(step) > 0 && left-- > 0
      const outcomes = await Promise.allSettled([
        alice.say(conversation, 'one'),
        alice.commit(conversation, [alice]),
        alice.say(conversation, 'two'),
      ])
      assert(outcomes.every((each) => each.status === 'rejected' && refusal('storage-full')(each.reason)))
      await settled()
      const state = await bob.ask('read-state', { conversation })
      assert.deepEqual([state.epoch, state.sequence, state.roster.length], [1, 2, 2])
      assert.equal((await alice.say(conversation, 'three')).sequence, 3)
      await until(() => bob.line.texts.length > 1)
      assert.deepEqual(bob.line.texts, ['zero', 'three'])
    })

    test('N06: a commit that is repeated is answered as before, and has no second effect', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('a'), ...world.person('b')] as [Phone, Phone]
      const conversation = await world.group(alice)
      const commit = alice.proposal(conversation, [alice, bob])
      const [first, again] = await Promise.all([alice.ask('commit', commit), alice.ask('commit', commit)])
      assert.deepEqual(again, first)
      await world.restart()
      assert.deepEqual(await alice.ask('commit', commit), first)
      await assert.rejects(alice.ask('commit', { ...commit, commit: text('else') }), refusal('id-reused'))
      await assert.rejects(alice.ask('commit', { ...commit, id: newSendId() }), refusal('id-reused'))
      await assert.rejects(alice.ask('commit', { ...commit, number: ++alice.number }), refusal('id-reused'))
      assert.equal((await alice.ask('read-state', { conversation })).sequence, 1)
    })

    test('a roster has no device twice, nobody unknown or delisted, and whoever commits', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, gone] = ['a', 'b', 'g'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice)
      world.delist(gone)
      const unknown = { id: newSendId() as Uint8Array as Phone['id'] } as Phone // an id that no device has
      for (const roster of [[alice, bob, bob], [alice, unknown], [alice, gone], [bob]])
        await assert.rejects(alice.commit(conversation, roster, { welcomes: [] }), refusal('not-permitted'))
      const twice = [
        { devices: [bob.id], welcome: text('1') },
        { devices: [bob.id], welcome: text('2') },
      ]
      await assert.rejects(alice.commit(conversation, [alice, bob], { welcomes: twice }), refusal('malformed'))
      const astray = [{ devices: [gone.id], welcome: text('1') }]
      await assert.rejects(alice.commit(conversation, [alice, bob], { welcomes: astray }), refusal('malformed'))
      assert.equal((await alice.ask('read-state', { conversation })).epoch, 0)
    })

    test('C12: a commit adds at most fifty devices, and never removes others with it', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice] = world.person('alice') as [Phone]
      const others = Array.from({ length: 51 }, (_, i) => world.person(`p${i}`)).flat()
      const conversation = await world.group(alice, ...others.slice(1))
      const [last, next] = others as [Phone, Phone]
      await assert.rejects(alice.commit(conversation, [alice, last, ...others.slice(2)]), refusal('not-permitted'))
      await alice.commit(conversation, [alice])
      await assert.rejects(alice.commit(conversation, [alice, ...others]), refusal('too-large'))
      assert.equal((await alice.commit(conversation, [alice, next])).sequence, 3)
    })

    test('C12: one Welcome does not become gigabytes by being for many', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice] = world.person('alice') as [Phone]
      const others = Array.from({ length: 40 }, (_, i) => world.person(`p${i}`)).flat()
      const conversation = await world.group(alice)
      const welcomes = [{ devices: others.map(({ id }) => id), welcome: new Uint8Array(2 ** 20) }]
      await assert.rejects(alice.commit(conversation, [alice, ...others], { welcomes }), refusal('too-large'))
    })

    test('C04: who is not a member gets the same answer as for an id that nobody has', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, eve] = ['a', 'b', 'e'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice, bob)
      for (const id of [conversation, newConversationId()]) {
        const asked = [
          () => eve.say(id, 'x', { generation: 1, epoch: 1 }),
          () => eve.commit(id, [eve], { generation: 1, epoch: 1 }),
          () => eve.ask('recreate', { conversation: id, generation: 2, roster: [eve.id] }),
          () => eve.ask('read-state', { conversation: id }),
          () => eve.ask('read-tree', { conversation: id, treeHash: new Uint8Array(32) as Hash }),
          () => eve.ask('leave', { conversation: id }),
          () => eve.ask('stuck', { conversation: id, generation: 1, epoch: 1 }),
          () => eve.ask('explain', { conversation: id, from: 1, through: 1 }),
        ]
        for (const each of asked) await assert.rejects(each, refusal('not-permitted'))
      }
      assert.deepEqual(await eve.ask('conversations', { after: undefined }), { conversations: [], isLast: true })
    })

    test('a device of an account that is there comes in by an external commit, in the place of one at most', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [phone, tablet, old]] = [world.person('a'), world.person('b', 3)] as [
        [Phone],
        [Phone, Phone, Phone],
      ]
      const conversation = await world.group(alice, phone, old)
      await assert.rejects(tablet.commit(conversation, [tablet, phone], { welcomes: [] }), refusal('not-permitted'))
      await assert.rejects(tablet.commit(conversation, [alice, tablet], { welcomes: [] }), refusal('not-permitted'))
      const eve = world.person('eve')[0] as Phone
      await assert.rejects(eve.commit(conversation, [alice, phone, old, eve]), refusal('not-permitted'))
      await tablet.commit(conversation, [alice, phone, tablet], { welcomes: [] })
      const state = await tablet.ask('read-state', { conversation })
      assert.deepEqual([state.epoch, state.floor], [2, 2])
      assert.equal((await tablet.say(conversation, 'here')).sequence, 3)
      await assert.rejects(old.say(conversation, 'still here?'), refusal('not-permitted'))
    })

    test('only the two accounts have devices in a direct conversation, and only own ones in others', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice, tablet], [bob], [eve]] = [world.person('a', 2), world.person('b'), world.person('e')] as [
        [Phone, Phone],
        [Phone],
        [Phone],
      ]
      const { conversation } = await alice.ask('open', direct(bob))
      await assert.rejects(alice.commit(conversation, [alice, eve]), refusal('not-permitted'))
      await alice.commit(conversation, [alice, tablet, bob])
      const notes = await alice.ask('open', {
        conversation: newConversationId(),
        target: { kind: 'self', body: undefined },
      })
      await assert.rejects(alice.commit(notes.conversation, [alice, bob]), refusal('not-permitted'))
      await alice.commit(notes.conversation, [alice, tablet])
    })

    test('nobody brings in who has blocked them; who does not know them gets a request', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice)
      world.regards(bob.account, alice.account, 'blocked')
      world.regards(carol.account, alice.account, 'stranger')
      await assert.rejects(alice.commit(conversation, [alice, bob]), refusal('not-permitted'))
      assert.equal(world.requests.length, 0)
      await alice.commit(conversation, [alice, carol])
      assert.deepEqual(
        world.requests.map(({ to, request }) => [to.name, request.conversation]),
        [['c', conversation]],
      )
    })

    test('the founding of an account brings the conversation of its own devices', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [phone, tablet] = world.person('alice', 2) as [Phone, Phone]
      const conversation = newConversationId()
      await world.archive.step({
        objects: world.open.conversations.founding(phone.account, phone.device, conversation),
      })
      await phone.commit(conversation, [phone, tablet])
      assert.equal((await tablet.ask('read-state', { conversation })).kind, 'own-devices')
      const page = await tablet.ask('conversations', { after: undefined })
      assert.deepEqual(page.conversations, [{ conversation, kind: 'own-devices', generation: 1, isOnRoster: true }])
      await assert.rejects(tablet.ask('leave', { conversation }), refusal('not-permitted'))
    })

    test('conversations come page by page, in the order of their ids', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, tablet] = world.person('alice', 2) as [Phone, Phone]
      const all = await Promise.all(Array.from({ length: limits.pageMax + 5 }, () => world.group(alice)))
      all.sort(Buffer.compare)
      for (const restarted of [false, true]) {
        if (restarted) await world.restart()
        const first = await tablet.ask('conversations', { after: undefined })
        assert.equal(first.isLast, false)
        const second = await tablet.ask('conversations', { after: first.conversations.at(-1)?.conversation })
        assert.equal(second.isLast, true)
        const both = [...first.conversations, ...second.conversations]
        assert.deepEqual(
          both.map(({ conversation }) => conversation),
          all,
        )
        assert(both.every(({ isOnRoster }) => !isOnRoster))
      }
    })

    test('creating anew closes the old generation, keeps the sequence, and tells who was there', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice, bob, carol)
      const line = await carol.connect()
      await alice.say(conversation, 'before')
      const roster = [alice.id, bob.id, carol.id]
      const outcomes = await Promise.allSettled(
        [alice, bob].map((phone) => phone.ask('recreate', { conversation, generation: 2, roster })),
      )
      assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
      assert.deepEqual(line.notices, [{ kind: 'regenerated', body: { conversation, generation: 2 } }])
      const stale = { generation: 2, epoch: 0, sequence: 0 }
      assert.deepEqual(
        await currentOf(carol.say(conversation, 'x', { generation: 1, epoch: 1 }), 'stale-generation'),
        stale,
      )
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([alice, bob, carol])
        const state = await carol.ask('read-state', { conversation })
        assert.deepEqual([state.generation, state.epoch, state.floor, state.sequence], [2, 0, 0, 2])
        assert.equal(state.groupInfo.length, 0)
        assert.equal(state.roster.length, 1)
      }
      const first = outcomes[0]?.status === 'fulfilled' ? alice : bob
      assert.equal((await first.commit(conversation, [alice, bob, carol])).sequence, 3)
      await carol.connect()
      await until(() => carol.line.heard.length === 5)
      assert.deepEqual(
        carol.line.heard.map(({ kind, generation, sequence }) => [kind, generation, sequence]),
        [
          ['welcome', 1, 1],
          ['commit', 1, 1],
          ['application', 1, 2],
          ['welcome', 2, 3],
          ['commit', 2, 3],
        ],
      )
    })

    test('creating anew brings nobody in, and leaves one account behind at most', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol, eve] = ['a', 'b', 'c', 'e'].flatMap((name) => world.person(name)) as [
        Phone,
        Phone,
        Phone,
        Phone,
      ]
      const conversation = await world.group(alice, bob, carol)
      const anew = (by: Phone, ...phones: Phone[]): Promise<unknown> =>
        by.ask('recreate', { conversation, generation: 2, roster: phones.map(({ id }) => id) })
      for (const roster of [[alice], [alice, bob, carol, eve], [bob, carol], [alice, bob, bob, carol]])
        await assert.rejects(anew(alice, ...roster), refusal('not-permitted'))
      await assert.rejects(anew(eve, alice, bob, carol, eve), refusal('not-permitted'))
      await anew(alice, alice, bob)
      await assert.rejects(carol.ask('read-state', { conversation }), refusal('not-permitted'))
      assert.equal((await bob.ask('read-state', { conversation })).generation, 2)
    })

    test('creating anew does not wait for accounts that have no device any more', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice, bob, carol)
      world.delist(bob)
      world.delist(carol)
      await alice.ask('recreate', { conversation, generation: 2, roster: [alice.id] })
    })

    test('whoever has left does not keep a conversation from beginning anew, and does not come back by it', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol, dave] = ['a', 'b', 'c', 'd'].flatMap((name) => world.person(name)) as [
        Phone,
        Phone,
        Phone,
        Phone,
      ]
      const conversation = await world.group(alice, bob, carol, dave)
      await carol.ask('leave', { conversation })
      await dave.ask('leave', { conversation })
      const roster = [alice, bob, carol].map(({ id }) => id)
      await alice.ask('recreate', { conversation, generation: 2, roster })
      for (const each of [carol, dave])
        await assert.rejects(each.ask('read-state', { conversation }), refusal('not-permitted'))
      assert.equal((await bob.ask('read-state', { conversation })).generation, 2)
    })

    test('who was awaited in a generation may begin the next one', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['a', 'b'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      const roster = [alice.id, bob.id]
      await alice.ask('recreate', { conversation, generation: 2, roster })
      await bob.ask('recreate', { conversation, generation: 3, roster })
      assert.deepEqual((await alice.ask('read-state', { conversation })).roster, [bob.id])
    })

    test('leaving ends what comes and goes at once, and only an Add brings back', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [phone, tablet]] = [world.person('a'), world.person('b', 2)] as [[Phone], [Phone, Phone]]
      const conversation = await world.group(alice, phone, tablet)
      const line = await alice.connect()
      await tablet.connect()
      await until(() => tablet.line.heard.length === 2)
      await phone.ask('leave', { conversation })
      await phone.ask('leave', { conversation })
      assert.deepEqual(line.notices, [
        { kind: 'left', body: { conversation, generation: 1, account: phone.account.id } },
      ])
      await assert.rejects(tablet.say(conversation, 'x'), refusal('not-permitted'))
      await assert.rejects(tablet.commit(conversation, [alice, phone, tablet]), refusal('not-permitted'))
      await assert.rejects(phone.ask('read-state', { conversation }), refusal('not-permitted'))
      await alice.say(conversation, 'without you')
      await alice.commit(conversation, [alice])
      await settled()
      assert.equal(tablet.line.heard.length, 2)
      await assert.rejects(phone.commit(conversation, [alice, phone], { welcomes: [] }), refusal('not-permitted'))
      await world.restart([alice, phone, tablet])
      await assert.rejects(phone.say(conversation, 'x', { epoch: 2 }), refusal('not-permitted'))
      await alice.commit(conversation, [alice, phone])
      assert.equal((await phone.say(conversation, 'back')).sequence, 5)
    })

    test('the last one out closes the conversation: its boxes empty, its id stays taken, a pair may open anew', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['a', 'b'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const { conversation } = await alice.ask('open', direct(bob))
      await alice.commit(conversation, [alice, bob])
      await alice.say(conversation, 'bye')
      await alice.ask('leave', { conversation })
      await bob.ask('leave', { conversation })
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      assert.deepEqual((await bob.ask('conversations', { after: undefined })).conversations, [])
      await assert.rejects(alice.ask('create', { conversation }), refusal('conversation-exists'))
      const next = await bob.ask('open', direct(alice))
      assert.equal(next.isNew, true)
      assert.notDeepEqual(next.conversation, conversation)
    })

    test('one of a pair that has left takes part again by opening: its devices hear what comes from there on', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [[alice], [phone, tablet]] = [world.person('a'), world.person('b', 2)] as [[Phone], [Phone, Phone]]
      const { conversation } = await alice.ask('open', direct(phone))
      await alice.commit(conversation, [alice, phone, tablet])
      await tablet.connect()
      await until(() => tablet.line.heard.length === 2)
      await phone.ask('leave', { conversation })
      await alice.say(conversation, 'to nobody')
      await alice.ask('open', direct(phone))
      await assert.rejects(phone.say(conversation, 'x', { epoch: 1 }), refusal('not-permitted'))
      const opened = await phone.ask('open', direct(alice))
      assert.deepEqual(opened, { conversation, generation: 1, isNew: false })
      await world.restart([alice, phone, tablet])
      await alice.say(conversation, 'welcome back')
      await tablet.connect()
      await until(() => tablet.line.heard.length === 3)
      assert.deepEqual(
        tablet.line.heard.map(({ sequence }) => sequence),
        [1, 1, 3],
      )
      assert.equal((await phone.say(conversation, 'thank you', { epoch: 1 })).sequence, 4)
    })

    test('who is stuck is heard by the others, but not over and over', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['a', 'b'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      const line = await alice.connect()
      const stuck = { conversation, generation: 1, epoch: 0 }
      await bob.ask('stuck', stuck)
      assert.deepEqual(line.notices, [{ kind: 'stuck', body: { ...stuck, device: bob.id } }])
      await assert.rejects(bob.ask('stuck', stuck), refusal('limited'))
      world.runMs += 10_000
      await bob.ask('stuck', stuck)
      assert.equal(line.notices.length, 2)
      await assert.rejects(bob.ask('stuck', { ...stuck, generation: 2 }), refusal('stale-generation'))
    })

    test('acquaintances are those on a roster with oneself', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol, eve] = ['a', 'b', 'c', 'e'].flatMap((name) => world.person(name)) as [
        Phone,
        Phone,
        Phone,
        Phone,
      ]
      await world.group(alice, bob)
      await world.group(alice, carol)
      await eve.ask('open', direct(alice))
      const { conversations } = world.open
      const names = async (of: Phone): Promise<string[]> =>
        (await conversations.acquaintances(of.account)).map(({ name }) => name).sort()
      assert.deepEqual(await names(alice), ['b', 'c'])
      assert.deepEqual(await names(bob), ['a'])
      assert.deepEqual(await names(eve), [])
      assert.equal(await conversations.areAcquainted(carol.account, alice.account), true)
      assert.equal(await conversations.areAcquainted(carol.account, bob.account), false)
      assert.equal(await conversations.areAcquainted(eve.account, alice.account), false)
    })

    test('conversations that are not used leave memory, and come back as they were', async () => {
      await using world = await ConversationsWorld.start(kind, { shelfWeightMax: 4 })
      const [alice, bob] = ['a', 'b'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'one')
      for (let i = 0; i < 20; i++) await world.group(alice)
      assert.equal(world.open.conversations.parts.shelf.peek(conversation), undefined)
      assert.equal((await alice.say(conversation, 'two', { generation: 1, epoch: 1 })).sequence, 3)
    })
  })
