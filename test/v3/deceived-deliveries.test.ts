import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Content } from '@messageu/e2ee/conversation'
import { recover } from '../../packages/cli/src/v3/account.ts'
import { connect } from '../../packages/cli/src/v3/context.ts'
import { owners, rename } from '../../packages/cli/src/v3/groups.ts'
import { entriesOf, showList } from '../../packages/client/test/messaging/false-lists.ts'
import { damageNext, holdBack, recordFor, repeat } from '../../packages/client/test/messaging/interception.ts'
import { flipped } from '../../packages/client/test/messaging/spoiling.ts'
import { Deceived, kindsOf, textsIn } from './deceived.ts'

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

describe('S03: a server that gives again what it gave before', () => {
  test('a message, a commit and a Welcome: messageu shows nothing of it a second time', async () => {
    await using people = await Deceived.start('alice', 'bob')
    const bob = await people.deviceOf('bob')
    const kept = recordFor(people.server, bob)
    await people.say('alice', 'bob', 'one')
    await people.group('alice', 'team', 'bob')
    await people.hear('bob')
    await people.say('bob', '#team', 'two') // whoever has said something has keys of its own, and no update is due
    await people.aside('alice', (context) => rename(context, 'team', 'crew'))
    await people.aside('alice', (context) => owners(context, 'crew', ['alice', 'bob']))
    await people.hear('bob')
    assert.deepEqual(new Set(kept.map(({ kind }) => kind)), new Set(['application', 'commit', 'welcome']))
    const history = (who: string) => people.events('bob', 'history', who)
    const before = [await history('alice'), await history('#crew')]
    people.server.twist = undefined
    repeat(people.server, bob, [...kept])
    assert.deepEqual(await people.events('bob', 'listen', '--once'), [])
    const after = [await history('alice'), await history('#crew')]
    assert.deepEqual(after, before)
  })

  test('the list that a lost device was on: messageu sends nothing by it, and every later command says so', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'one')
    const { account } = (await people.accountOf('bob')).identity
    const entries = entriesOf(people.server, account)
    const wordsFile = people.folderOf('bob.words')
    await people.aside('new phone', (context) => recover(context, { server: people.link, wordsFile }))
    await people.say('alice', 'bob', 'two')
    showList(people.server, await people.deviceOf('alice'), { account, entries })
    const accepted = people.server.accepted.length
    const ended = await people.run('alice', 'send', 'bob', 'secret')
    assert.equal(ended.exit.code, 5)
    assert.equal(ended.out, '')
    assert.match(ended.err, /^error: .*list.*\n/)
    assert.equal(people.server.accepted.length, accepted)
    assert.match((await people.run('alice', 'people')).err, /^note: bob: the server has shown an old device list$/m)
    const heard = await people.events('alice', 'listen', '--once')
    assert.deepEqual(
      heard.filter(({ event }) => event === 'alarm').map(({ alarm, name }) => [alarm, name]),
      [['older-list', 'bob']],
    )
  })
})

describe('S04: a server that delivers in another order, or not at all', () => {
  test('every message is shown, and the history has them in their order (I3)', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'first')
    await people.hear('bob')
    const bob = await people.deviceOf('bob')
    const held = holdBack(people.server, bob)
    const texts = numbers(20).map((i) => `message ${i}`)
    for (const text of texts) await people.say('alice', 'bob', text)
    people.server.twist = undefined
    for (const parts of held.reverse()) people.server.slip(bob, parts)
    const heard = await people.events('bob', 'listen', '--once')
    assert.deepEqual(
      kindsOf(heard),
      numbers(20).map(() => 'message'),
    )
    assert.deepEqual(textsIn(heard), [...texts].reverse())
    assert.deepEqual(textsIn(await people.events('bob', 'history', 'alice')), ['first', ...texts])
  })

  test('250 messages that never come are a line that says so, and both go on writing', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'first')
    await people.hear('bob')
    const held = holdBack(people.server, await people.deviceOf('bob'))
    await people.aside('alice', async (context) => {
      await using connected = await connect(context)
      for (const i of numbers(250)) await connected.client.send('bob', { text: `lost ${i}` }, context)
    })
    people.server.twist = undefined
    await people.say('alice', 'bob', 'found')
    assert.deepEqual(kindsOf(await people.hear('bob', { agoMs: 60_000 })), ['stuck', 'unopened', 'rejoined'])
    await people.hear('alice') // she is asked for what could not be opened
    const told = await people.run('bob', 'listen', '--once')
    const missing = `* alice: ${held.length} messages are missing here (the server says that this device has had it)`
    assert.equal(told.out, `alice → me  found\n${missing}\n`)
    const history = await people.run('bob', 'history', 'alice')
    assert.deepEqual(
      history.out.split('\n').map((line) => line.replace(/^\S+ {2}/, '')),
      [
        '* alice: alice has brought this device in. Here are alice, bob',
        'alice → me  first',
        missing,
        'alice → me  found',
        '* alice: bob has taken its place again',
        '',
      ],
    )
    await people.say('bob', 'alice', 'I missed some')
    assert.deepEqual(textsIn(await people.events('alice', 'listen', '--once')), ['I missed some'])
  })
})

test('S05: a server that gives everything one to ten times: messageu shows each thing once (I2)', async () => {
  await using people = await Deceived.start('alice', 'bob')
  let count = 0
  people.server.twist = (_to, parts) => numbers(1 + (count++ % 10)).map(() => parts)
  for (const text of ['one', 'two', 'three', 'four', 'five']) await people.say('alice', 'bob', text)
  const heard = await people.events('bob', 'listen', '--once')
  assert.deepEqual(kindsOf(heard), ['joined', 'message', 'message', 'message', 'message', 'message'])
  assert.deepEqual(textsIn(heard), ['one', 'two', 'three', 'four', 'five'])
  await people.group('alice', 'team', 'bob')
  for (const text of ['six', 'seven']) await people.say('alice', '#team', text)
  const heardLater = await people.events('bob', 'listen', '--once')
  assert.deepEqual(kindsOf(heardLater), ['message', 'message'])
  assert.deepEqual(textsIn(heardLater), ['six', 'seven'])
  await people.say('bob', '#team', 'eight')
  const atAlice = await people.events('alice', 'listen', '--once')
  assert.deepEqual(kindsOf(atAlice), ['change', 'change', 'message'])
  assert.deepEqual(textsIn(atAlice), ['eight'])
  assert.deepEqual(textsIn(await people.events('bob', 'history', '#team')), ['six', 'seven', 'eight'])
  assert(count > 10, `only ${count} deliveries were repeated`)
})

describe('S18: what a server can tell from what a program does', () => {
  /** What Bob's program asks of the server in the meantime, with how long each request is. */
  async function asked(people: Deceived, work: () => Promise<unknown>): Promise<readonly string[]> {
    const before = people.server.requests.length
    await work()
    return people.server.requests.slice(before).map(({ name, body }) => `${name} ${body.length}`)
  }

  test('a message that cannot be opened: nothing of what was wrong with it', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'first')
    await people.hear('bob')
    await people.say('bob', 'alice', 'second') // whoever has said something has keys of its own
    await people.hear('alice')
    const bob = await people.deviceOf('bob')
    const answers: (readonly string[])[] = []
    for (const fromEnd of [1, 40, 400]) {
      const text = `damaged ${fromEnd} bytes from its end`
      damageNext(people.server, bob, (sealed) => flipped(sealed, sealed.length - fromEnd))
      await people.say('alice', 'bob', text)
      const answer = await asked(people, async () => {
        const { exit, out } = await people.run('bob', 'listen', '--once')
        assert.equal(exit.code, 0)
        assert.match(out, /^\* alice: a message that cannot be opened \(\w+\); others are asked for it\n$/)
      })
      answers.push(answer)
      await people.hear('alice')
      assert.deepEqual(textsIn(await people.hear('bob')), [text], 'its author has given it again')
    }
    const [first, ...others] = answers
    assert(
      first?.some((each) => each.startsWith('send ')),
      'its author is asked for it',
    )
    for (const each of others) assert.deepEqual(each, first)
  })

  test('a message that can be opened: nothing of what it says', async () => {
    await using people = await Deceived.start('alice', 'bob')
    await people.say('alice', 'bob', 'first')
    await people.hear('bob')
    const contents: Content[] = [
      { kind: 'text', body: { text: 'hello' } },
      { kind: 'text', body: { text: '\u001b[2J' } },
      { kind: 'title', body: { title: 'hello' } },
      { kind: 'receipt', body: { messages: [] } },
      { kind: 'unknown', body: { code: 999, bytes: Uint8Array.of(1, 2, 3) } },
    ]
    const answers: (readonly string[])[] = []
    for (const content of contents) {
      await people.aside('alice', async (context) => {
        await using connected = await connect(context)
        await (await connected.client.post('bob', content, context)).outcome
      })
      answers.push(await asked(people, () => people.hear('bob')))
    }
    const [first, ...others] = answers
    assert(first?.some((each) => each.startsWith('acknowledge ')))
    for (const each of others) assert.deepEqual(each, first)
  })
})
