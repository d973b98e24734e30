import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, recover, systemClock, systemRandom } from '@messageu/client'
import { nodeTransport, openProfile } from '@messageu/client/node'
import { parseLink } from '@messageu/protocol/v3'
import { befriend, Household } from './household.ts'

test('S09: a device that came back by the words says nothing before it was shown who is there', async () => {
  await using household = await Household.start()
  const { signal } = household
  const [alice, carol] = [await household.person('alice'), await household.person('carol')]
  await befriend(alice, carol)
  const { conversation: group } = await alice.client.createGroup('team', ['carol'], { signal })
  await carol.until(() => carol.shown.some(({ kind }) => kind === 'joined'), 'the group')
  await carol[Symbol.asyncDispose]()

  await using profile = await openProfile(household.folderOf('carol anew'))
  const world = { transport: nodeTransport(), clock: systemClock, random: systemRandom }
  const { store } = profile
  await recover({ link: parseLink(household.server.link), words: carol.words, store, world, signal })
  await using client = await Client.connect({ store, world, signal })
  await client.idle()
  assert.equal((await client.describe(group))?.standing, 'active', 'it has taken its place by itself')
  await assert.rejects(client.send('alice', { text: 'too soon' }, { signal }), { reason: 'unseen' })
  await assert.rejects(client.sendTo(group, { text: 'too soon' }, { signal }), { reason: 'unseen' })

  const members: (readonly string[])[] = []
  for await (const batch of client.arrivals({ signal, untilCaughtUp: true }))
    for (const arrival of batch)
      if (arrival.kind === 'told' && arrival.told.kind === 'rejoined')
        members.push(arrival.names.map(({ name }) => name).sort())
  assert.equal(members.filter((names) => names.join() === 'alice,carol').length, 2)
  await client.send('alice', { text: 'it is me' }, { signal })
  await client.sendTo(group, { text: 'again' }, { signal })
  await alice.hears('it is me', 'again')
  assert(!alice.heard.includes('too soon'))
})
