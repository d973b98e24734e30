import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newSeed, signingKey } from '@messageu/e2ee'
import type { Authored, Copy } from '@messageu/e2ee/conversation'
import type { ConversationId, SendId } from '@messageu/protocol/v3'
import { authoredIn } from '../../src/messaging/authored.ts'
import { newcomerKey } from '../../src/messaging/errands.ts'
import { conversationRow, errandRow } from '../../src/messaging/rows.ts'
import { getRow, putRow } from '../../src/rows.ts'
import { never, random } from '../world.ts'
import { damageNext } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { sealedBy } from './sealing.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

/** Bob has not been able to open what Alice has said last, and can ask nobody; Mallory, who is in both groups, answers. */
async function scene(world: MessagingWorld) {
  const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
  await world.acquaint(alice, bob, mallory)
  const [team, other] = [await world.group(alice, 'team', bob, mallory), await world.group(mallory, 'other', bob)]
  await alice.sayTo(team, 'one')
  const own = await mallory.sayTo(team, 'two')
  const bobs = bob.identity.device
  world.server.lie = (name, _, { device }) =>
    name === 'send' && device !== undefined && same(device, bobs) ? { kind: 'silence' } : undefined
  damageNext(world.server, bobs, flipped)
  const lost = await alice.sayTo(team, 'three')
  assert.equal(bob.kinds('unopened').length, 1)
  return { alice, bob, mallory, team, other, own, lost }
}

async function authored({ store }: Device, conversation: ConversationId, id: SendId): Promise<Authored> {
  const row = (await getRow(store, conversationRow, conversation)) ?? assert.fail()
  return ((await authoredIn(store, row, id)) ?? assert.fail()).authored
}

test('S16, C 9: what a member gives as a copy counts only if it has written and signed it, in the place of that message', async () => {
  await using world = await MessagingWorld.start()
  const { alice, bob, mallory, team, other, own, lost } = await scene(world)
  const ofAlice = { account: alice.identity.account, authored: await authored(mallory, team, lost.id) }
  const ofMallory = async (by: ReturnType<typeof sealedBy>) => ({
    account: mallory.identity.account,
    authored: (await by).authored,
  })
  const { id } = lost
  const requestKey = await signingKey(newSeed(random))
  const { sequence } = lost
  const madeUp: Record<string, Omit<Copy, 'at'>> = {
    'by somebody else': { sequence, ...ofAlice },
    'in the name of somebody else': {
      sequence,
      account: alice.identity.account,
      authored: (await sealedBy(mallory, team, { id })).authored,
    },
    'under another id': {
      sequence,
      account: mallory.identity.account,
      authored: await authored(mallory, team, own.id),
    },
    'said elsewhere': { sequence, ...(await ofMallory(sealedBy(mallory, other, { id }))) },
    'signed falsely': { sequence, ...(await ofMallory(sealedBy(mallory, team, { id, requestKey }))) },
    'where nothing is': { sequence: sequence + 100, ...(await ofMallory(sealedBy(mallory, team, { id }))) },
    'where something was opened': {
      sequence: own.sequence,
      ...(await ofMallory(sealedBy(mallory, team, { id: own.id }))),
    },
  }
  const before = await bob.historyOf(team)
  for (const [what, copy] of Object.entries(madeUp)) {
    const group = { conversation: team, generation: 1 }
    const content = { kind: 'copies', body: { group, copies: [{ ...copy, at: 1 }] } } as const
    const { outcome } = await mallory.client.postTo(team, content, { signal: never })
    assert.equal((await world.over(outcome)).kind, 'accepted')
    await still()
    assert.deepEqual(await bob.historyOf(team), before, what)
  }
  assert.deepEqual(bob.heard, ['one', 'two'])
  world.server.lie = undefined
  for (const session of world.server.sessionsOf(bob.identity.device)) session.cut()
  await world.pass(60_000)
  assert.deepEqual(bob.heard, ['one', 'two', 'three'], 'its author gives it again')
})

test('I2, U05: what a sibling gives again after the server was restored stands once', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  for (const text of ['one', 'two', 'three']) await alice.say('bob', text)
  const tablet = await world.sibling(alice)
  await world.pass(60_000)
  const said = ['one', 'two', 'three']
  assert.deepEqual(await tablet.texts('bob'), said)
  world.server.copy()()
  await world.pass(300_000)
  await alice.goOffline()
  const { device } = tablet.identity
  const body = { device, isAdmitted: true, isManager: false, contact: undefined, history: undefined }
  await alice.store.commit([putRow(errandRow, newcomerKey(device), { kind: 'newcomer', body })], alice.store.revision)
  await alice.comeOnline()
  await world.pass(300_000)
  assert.equal(await getRow(alice.store, errandRow, newcomerKey(device)), undefined, 'it was given again')
  assert.deepEqual(await tablet.texts('bob'), said)
})
