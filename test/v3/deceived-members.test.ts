import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { toBase64url } from '@messageu/protocol/v3'
import { recover } from '../../packages/cli/src/v3/account.ts'
import { addTo, owners, removeFrom } from '../../packages/cli/src/v3/groups.ts'
import { send } from '../../packages/cli/src/v3/send.ts'
import { eventsIn } from '../../packages/cli/test/v3/shell.ts'
import { continueWith, recordFor, withholdCommits } from '../../packages/client/test/messaging/interception.ts'
import { same } from '../../packages/client/test/messaging/ledger.ts'
import { spoil } from '../../packages/client/test/messaging/spoiling.ts'
import { Deceived, textsIn } from './deceived.ts'

test('S06: members who are given different commits for one epoch never merge, see an alarm, and find together again', async () => {
  await using people = await Deceived.start('alice', 'bob', 'carol')
  const group = await people.group('alice', 'team', 'bob', 'carol')
  await people.aside('alice', (context) => owners(context, 'team', ['alice', 'carol']))
  await people.hear('carol')
  await people.say('carol', '#team', 'before') // whoever has said something has keys of its own
  for (const each of ['alice', 'bob']) await people.hear(each)
  const carol = await people.deviceOf('carol')
  const kept = recordFor(people.server, await people.deviceOf('bob'))
  people.server.leadApart(group, [carol])
  for (const each of ['alice', 'carol']) {
    await people.aside(each, (context) => owners(context, 'team', [each]))
    await people.say(each, '#team', `to some by ${each}`)
  }
  assert.deepEqual(textsIn(await people.hear('bob')), ['to some by alice'])
  people.server.twist = undefined
  people.server.leadTogether(group)
  const last = continueWith(people.server, carol, kept)
  const ledger = people.server.ledger(group)
  assert(ledger !== undefined)
  ledger.sequence = last
  const told = await people.run('carol', 'listen', '--once')
  assert.equal(told.exit.code, 0)
  assert.match(told.out, /^! ALARM: #team: members were given different commits\. Compare safety numbers$/m)
  assert.match(told.out, /^\* #team: this device has taken its place again\. Here are alice, bob, carol$/m)
  assert.doesNotMatch(told.out, /to some by alice/)
  await people.say('alice', '#team', 'together')
  assert.deepEqual(textsIn(await people.events('carol', 'listen', '--once')), ['together'])
  await people.say('carol', '#team', 'again')
  assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['together', 'again'])
  assert.deepEqual(textsIn(await people.events('carol', 'history', '#team')), [
    'before',
    'to some by carol',
    'together',
    'again',
  ])
})

describe('S07: a server that shows an old state', () => {
  test('without a removal: what is written meanwhile reaches nobody, and the command ends and says so', async () => {
    await using people = await Deceived.start('alice', 'bob', 'carol')
    await people.group('alice', 'team', 'bob', 'carol')
    withholdCommits(people.server, await people.deviceOf('bob'))
    await people.aside('alice', (context) => removeFrom(context, 'team', ['carol']))
    const accepted = people.server.accepted.length
    const ended = await people.overTime('bob', (context) => send(context, '#team', ['are we alone?']))
    assert.equal(ended.code, 3)
    assert.deepEqual(
      eventsIn(ended).map(({ event, code }) => [event, code]),
      [
        ['notice', 'queued'],
        ['error', 'timeout'],
      ],
    )
    assert.equal(people.server.accepted.length, accepted)

    people.server.twist = undefined
    await people.say('alice', '#team', 'she is out')
    const told = await people.run('bob', 'listen', '--once')
    assert.equal(told.exit.code, 0)
    assert.match(told.out, /^\* #team: a change cannot be applied here \(a commit is missing\); this device looks/)
    assert.match(told.out, /^\* #team: this device has taken its place again\. Here are alice, bob$/m)
    await people.say('bob', '#team', 'now we are')
    assert.deepEqual(textsIn(await people.events('alice', 'listen', '--once')), ['are we alone?', 'now we are'])
    const [last, ...more] = await people.events('carol', 'listen', '--once')
    assert.deepEqual([last?.change, more], ['remove', []])
  })

  test('of the directory: nothing is sent to a device that was removed, once it was seen that it was', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'one')
    const { lists } = people.server
    const [{ account, device }, before] = [(await people.accountOf('bob')).identity, new Map(lists)]
    const wordsFile = people.folderOf('bob.words')
    await people.aside('phone', (context) => recover(context, { server: people.link, wordsFile }))
    await people.say('alice', 'bob', 'two')
    const old = before.get(toBase64url(account))
    assert(old !== undefined)
    lists.set(toBase64url(account), old)
    const accepted = people.server.accepted.length
    const [error] = (await people.run('alice', 'send', 'bob', 'secret', '--json')).events
    assert.deepEqual([error?.event, error?.code], ['error', 'list-changed'])
    assert.equal(people.server.accepted.length, accepted)
    assert(people.server.log.slice(-1).every(({ to }) => !to.some((each) => same(each, device))))
    const alarms = await people.events('alice', 'alarms')
    assert.deepEqual(
      alarms.map(({ alarm, name }) => [alarm, name]),
      [['older-list', 'bob']],
    )
  })
})

test('S16: a commit that a member has spoilt is refused by everybody alike, who stay in step', async () => {
  await using people = await Deceived.start('alice', 'bob', 'carol', 'dave')
  await people.group('alice', 'team', 'bob', 'carol')
  await people.aside('alice', (context) => owners(context, 'team', ['alice', 'bob']))
  for (const each of ['bob', 'carol']) await people.hear(each)
  const { stop } = spoil(people.server, await people.deviceOf('bob'), ['commit'])
  const adding = await people.overTime('bob', (context) => addTo(context, 'team', ['dave']))
  assert.deepEqual(
    [adding.code, eventsIn(adding).map(({ code }) => code)],
    [3, ['bad-answer']],
    'he is not told that it is done',
  )
  stop()
  const told = []
  for (const each of ['alice', 'carol']) {
    const events = await people.events(each, 'listen', '--once')
    told.push(events.filter(({ event }) => event === 'stuck').map(({ why, by }) => ({ why, by })))
    assert(
      events.some(({ event }) => event === 'rejoined'),
      each,
    )
  }
  assert.equal(told[0]?.length, 1)
  assert.deepEqual(told[0], told[1])
  for (const each of ['bob', 'alice', 'carol']) await people.hear(each)
  for (const each of ['alice', 'bob', 'carol']) {
    await people.say(each, '#team', `by ${each}`)
    for (const other of ['alice', 'bob', 'carol'])
      assert.deepEqual(textsIn(await people.hear(other)), other === each ? [] : [`by ${each}`], other)
  }
  const members = []
  for (const each of ['alice', 'bob', 'carol']) members.push(await people.events(each, 'group', 'members', 'team'))
  const [first, ...others] = members.map((each) => each.map(({ name }) => name).sort())
  for (const each of others) assert.deepEqual(each, first)
})
