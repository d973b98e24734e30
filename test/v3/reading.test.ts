import assert from 'node:assert/strict'
import { test } from 'node:test'
import { events } from '../../packages/cli/test/v2/world.ts'
import { Acquainted } from './acquainted.ts'

test('what a device has is read without its server, and nothing else is', async () => {
  await using people = await Acquainted.start('alice', 'bob')
  const alice = (...args: string[]) => people.run('alice', ...args)
  const bob = (...args: string[]) => people.run('bob', ...args)
  assert.equal((await alice('group', 'create', 'team', 'bob')).code, 0)
  assert.equal((await alice('send', 'bob', 'are you there?')).code, 0)
  assert.equal((await alice('send', '#team', 'and here?')).code, 0)
  assert.equal((await bob('listen', '--once')).code, 0)
  await people.server.end()

  assert.equal((await bob('history', '#team')).code, 0)
  const { content, id } = events(await bob('history', 'alice', '--json')).find(({ event }) => event === 'message') ?? {}
  assert.deepEqual(content, { kind: 'text', text: 'are you there?' })
  const known = events(await bob('conversations', '--json')).map(({ kind, name, title }) => ({ kind, name, title }))
  known.sort((one, other) => String(one.kind).localeCompare(String(other.kind)))
  assert.deepEqual(known, [
    { kind: 'direct', name: 'alice', title: undefined },
    { kind: 'group', name: undefined, title: 'team' },
  ])
  const members = events(await bob('group', 'members', 'team', '--json'))
  assert.deepEqual(members.map(({ name }) => name).sort(), ['alice', 'bob'])
  assert.equal((await bob('alarms')).code, 0)
  assert.equal((await bob('proof', 'alice', String(id), '--json')).code, 0)
  const unknown = await bob('history', 'nobody')
  assert.match(unknown.err, /there is no conversation with nobody yet/)

  const sent = await bob('send', 'alice', 'no')
  assert.equal(sent.code, 3)
})
