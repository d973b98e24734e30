import assert from 'node:assert/strict'
import { cp } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { systemRandom } from '@messageu/client'
import { decode } from '@messageu/protocol'
import { ConversationId, RefusedError } from '@messageu/protocol/v3'
import { recover, register } from '../../packages/cli/src/v3/account.ts'
import { connect } from '../../packages/cli/src/v3/context.ts'
import { create } from '../../packages/cli/src/v3/groups.ts'
import { send } from '../../packages/cli/src/v3/send.ts'
import { eventsIn } from '../../packages/cli/test/v3/shell.ts'
import { badPackages, handOut, makerOf } from '../../packages/client/test/messaging/bad-packages.ts'
import { same } from '../../packages/client/test/messaging/ledger.ts'
import { Deceived, kindsOf, textsIn } from './deceived.ts'

describe('S08: a server that hands out bad key packages', () => {
  test('nothing is sealed for any of them, and the user sees what is wrong with each', async () => {
    await using people = await Deceived.start('alice', 'bob', 'carol')
    const { server } = people
    const bob = await people.deviceOf('bob')
    const makerAt = async (name: string) => makerOf(server, await people.accountOf(name), Date.now())
    const makers = [await makerAt('bob'), await makerAt('carol')] as const
    for (const [what, { reason, make }] of Object.entries(badPackages)) {
      handOut(server, bob, [await make(...makers)])
      const sent = await people.overTime('alice', (context) => send(context, 'bob', ['hi']))
      assert.deepEqual([sent.code, eventsIn(sent).map(({ code }) => code)], [1, ['no-device']], what)
      const told = (await people.hear('alice')).filter(({ event }) => event === 'package')
      assert(told.length > 0, what)
      for (const each of told) assert.deepEqual([each.name, each.reason], ['bob', reason], what)
    }
    handOut(server, bob, [new Uint8Array(300)])
    const refused = await people.run('alice', 'send', 'bob', 'hi')
    assert.deepEqual([refused.exit.code, refused.out], [1, ''])
    assert.match(refused.err, /^error: none of their devices can be brought into a conversation yet\n {2}try: /)
    const told = await people.run('alice', 'listen', '--once')
    const line = '* a device of bob stays out: what the server gave for it is not good (malformed)'
    assert.deepEqual([...new Set(told.out.trimEnd().split('\n'))], [line])
    server.lie = undefined
    await people.say('alice', 'bob', 'hello')
    assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['hello'])
  })

  test('one that was used before brings its device nowhere, and the user is told', async () => {
    await using people = await Deceived.start('alice', 'bob', 'carol')
    const bob = await people.deviceOf('bob')
    const used = people.server.shelf.of(bob).find(({ isLastResort }) => !isLastResort)
    assert(used !== undefined)
    handOut(people.server, bob, [used.keyPackage])
    await people.say('alice', 'bob', 'by alice')
    assert.deepEqual(textsIn(await people.hear('bob')), ['by alice'])
    await people.say('carol', 'bob', 'by carol')
    const told = await people.run('bob', 'listen', '--once')
    assert.match(told.out, /^\* somebody tried to bring this device into a conversation, .*: no-package: .*\n$/)
    assert.equal((await people.run('bob', 'conversations')).out, 'alice\n')
  })
})

describe('S09: what a server makes by itself', () => {
  test('a group of a stranger is silent and sends nothing until it is accepted', async () => {
    await using people = await Deceived.start('bob')
    await people.register('mallory')
    await people.aside('mallory', (context) => create(context, 'party', ['bob']))
    await people.say('mallory', '#party', 'come in')
    const told = await people.run('bob', 'listen', '--once')
    assert.equal(told.out, '* mallory wants to write to you: messageu requests accept mallory (or refuse, or block)\n')
    const [party, ...more] = await people.events('bob', 'conversations')
    assert.deepEqual([party?.standing, more], ['request', []])
    const bob = await people.deviceOf('bob')
    assert(!people.server.log.some(({ device }) => same(device, bob)))
    assert.equal((await people.run('bob', 'send', '#party', 'hello')).exit.code, 1)
    await people.events('bob', 'requests', 'accept', 'mallory')
    assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['come in'])
  })

  test('Welcomes, commits and messages of groups that nobody knows bring a device into nothing', async () => {
    await using people = await Deceived.start('alice', 'bob')
    const bob = await people.deviceOf('bob')
    for (const kind of ['welcome', 'commit', 'application'] as const)
      for (const sealed of [new Uint8Array(), systemRandom(300)]) {
        const conversation = decode(ConversationId, systemRandom(ConversationId.max))
        people.server.slip(bob, { conversation, kind, sealed })
      }
    const told = await people.events('bob', 'listen', '--once')
    assert.deepEqual(kindsOf(told), ['unwelcome', 'unwelcome'])
    const [nothing, ...more] = await people.events('bob', 'conversations')
    assert.deepEqual([nothing?.code, more], ['nobody', []])
    await people.say('alice', 'bob', 'hello')
    assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['hello'])
  })

  test('a second account of a known name is an alarm, and is neither accepted nor written to by that name', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'it is me')
    await people.hear('bob')
    const wordsFile = people.folderOf('impostor.words')
    await people.aside('impostor', (context) => register(context, { name: 'alice', server: people.link, wordsFile }))
    await people.aside('impostor', (context) => create(context, 'family', ['bob']))
    await people.say('impostor', '#family', 'no, it is me')
    const told = await people.run('bob', 'listen', '--once')
    assert.match(told.out, /^! ALARM: alice: the name stands for another account than before; compare safety numbers/m)
    assert.doesNotMatch(told.out, /no, it is me/)
    for (const args of [
      ['send', 'alice', 'secret'],
      ['requests', 'accept', 'alice'],
    ]) {
      const ended = await people.run('bob', ...args, '--json')
      assert.equal(ended.exit.code, 5, args[0])
      assert.equal(ended.events.at(-1)?.code, 'account-changed')
    }
    const family = (await people.events('bob', 'conversations')).find(({ kind }) => kind === 'group')
    assert.equal(family?.standing, 'request')
    assert.match((await people.run('bob', 'verify', 'alice')).out, /^Safety number with the OTHER account that calls /)
    const [kept] = await people.events('bob', 'alarms', 'keep', 'alice')
    assert.equal(kept?.event, 'kept')
    const [nothing] = await people.events('bob', 'alarms')
    assert.equal(nothing?.code, 'nothing')
    await people.events('bob', 'send', 'alice', 'for you')
    assert.deepEqual(textsIn(await people.events('alice', 'listen', '--once')), ['for you'])
    const [safety] = await people.events('bob', 'verify', 'alice')
    assert.deepEqual([safety?.isOtherAccount, safety?.isNewestConfirmed], [false, true])
    assert.match(
      (await people.run('bob', 'verify', 'alice')).out,
      /^Their device list was confirmed by themselves, last on/m,
    )
  })
})

describe('S14: a profile that was copied', () => {
  test('sends nothing once the other one has sent, says so, and both are off the list once the account was recovered', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'one')
    await cp(people.folderOf('alice'), people.folderOf('copy'), { recursive: true })
    await people.say('alice', 'bob', 'two')
    const accepted = people.server.accepted.length
    for (const args of [
      ['send', 'bob', 'not two'],
      ['listen', '--once'],
    ]) {
      const ended = await people.run('copy', ...args)
      assert.deepEqual([ended.exit.code, ended.out], [1, ''])
      assert.match(ended.err, /^error: the server has send \d+ of this device, and this profile has made \d+\n/)
      assert.match(ended.err, /try: do not use this copy of the profile: link a new device instead\n$/)
    }
    assert.equal(people.server.accepted.length, accepted)
    assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['one', 'two'])

    const { link } = people
    const words = people.folderOf('alice.words')
    const back = await people.run('phone', 'recover', '--server', link, '--words-file', words)
    assert.deepEqual([back.exit.code, back.err], [0, ''])
    const other = await people.run('alice', 'send', 'bob', 'nobody hears this', '--json')
    assert.deepEqual([other.exit.code, other.events.map(({ code }) => code)], [4, ['delisted']])

    assert.match(back.out, /^\* bob: this device has taken its place again\. Here are alice, bob$/m)
    await people.events('phone', 'send', 'bob', 'it is me again')
    assert.deepEqual(textsIn(await people.events('bob', 'listen', '--once')), ['it is me again'])
    await people.say('bob', 'alice', 'welcome back')
    assert.deepEqual(textsIn(await people.events('phone', 'listen', '--once')), ['welcome back'])
  })

  test('and recovered at a server that does not let it rejoin writes in a conversation that it begins anew', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'one')
    await people.hear('bob')
    const gone = new RefusedError('not-permitted', 'it is gone')
    people.server.lie = (name) => (name === 'read-tree' ? { kind: 'refuse', error: gone } : undefined)
    const wordsFile = people.folderOf('alice.words')
    await people.aside('phone', (context) => recover(context, { server: people.link, wordsFile }))
    people.server.lie = (name, _, { device }) =>
      name === 'read-tree' && device !== undefined && !same(device, bob) ? { kind: 'refuse', error: gone } : undefined
    const bob = await people.deviceOf('bob')
    const sent = await people.overTime('phone', (context) => send(context, 'bob', ['it is me again']))
    assert.equal(sent.code, 0, sent.out)
    const heard = await people.events('bob', 'listen', '--once')
    assert.deepEqual(textsIn(heard), ['it is me again'])
    assert(heard.some(({ event, by }) => event === 'renewed' && by === 'alice'))
  })

  test('and that runs beside the other one is found out by what it sends, which nobody is shown', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'one')
    await cp(people.folderOf('alice'), people.folderOf('copy'), { recursive: true })
    const [error] = await people.aside('copy', async (context) => {
      await using connected = await connect(context)
      await people.say('alice', 'bob', 'two')
      const posted = await connected.client.post('bob', { kind: 'text', body: { text: 'not two' } }, context)
      await assert.rejects(posted.outcome, { reason: 'clone' })
    })
    assert.equal(error, undefined)
    const heard = await people.events('bob', 'listen', '--once')
    assert.deepEqual(kindsOf(heard), ['joined', 'message', 'message'])
    assert.deepEqual(textsIn(heard), ['one', 'two'])
  })
})
