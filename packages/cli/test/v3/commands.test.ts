import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { ResponseOf } from '@messageu/client'
import { type AccountName, RefusedError } from '@messageu/protocol/v3'
import { done, type FakeServer, type Reply, someConversation } from '../../../client/test/fake-server.ts'
import { recover, register, whoami } from '../../src/v3/account.ts'
import type { Context } from '../../src/v3/context.ts'
import { devices } from '../../src/v3/devices.ts'
import { people, person, requests } from '../../src/v3/people.ts'
import { actingIn } from '../acting.ts'
import { type Ended, eventsIn, Shell } from './shell.ts'

/** What acts on a terminal, hides in it, or pretends to be a line of ours. */
const hostile = {
  'a colour': 'red\u001b[31m',
  'a hyperlink': '\u001b]8;;https://evil.example\u0007here\u001b]8;;\u0007',
  'the clipboard': '\u001b]52;c;cm0gLXJm\u0007',
  'a device control string': '\u001bPq#0\u001b\\',
  'C1 controls': '\u009b31m\u0090x\u009c',
  'a carriage return and backspaces': 'x\r\b\bYou are admin',
  'a line of its own': 'x\nerror: all is well',
  'bidi overrides': '\u202egpj.exe\u2066x\u2069',
  'zero-width letters': 'al\u200bi\u2060ce\ufeff',
  'a pile of marks': `a${'\u0301'.repeat(40)}`,
}

const commands: Record<string, (context: Context, shell: Shell) => Promise<void>> = {
  people: (context) => people(context),
  'people NAME': (context) => person(context, 'carol'),
  requests: (context) => requests(context),
  'device list': (context) => devices(context),
  register: (context, shell) =>
    register(context, { name: 'dave', server: shell.link, wordsFile: shell.of('dave.words') }),
  recover: (context, shell) => recover(context, { server: shell.link, wordsFile: shell.of('alice.words') }),
}

/** The operation that each command comes to. */
const asked = {
  people: 'people',
  'people NAME': 'find',
  requests: 'requests',
  'device list': 'read-list',
  register: 'register',
  recover: 'recover',
} as const

function assertHarmless({ out, err }: Ended): void {
  assert.deepEqual(actingIn(out), [])
  assert.deepEqual(actingIn(err), [])
}

/** What the server says to one kind of request. */
function answering(server: FakeServer, name: string, reply: Reply): void {
  server.lie = (operation) => (operation === name ? reply : undefined)
}

async function running(shell: Shell, command: string, options: { json: boolean }): Promise<Ended> {
  const as = command === 'register' || command === 'recover' ? `new ${options.json}` : 'alice'
  return shell.run((context) => commands[command]?.(context, shell) ?? assert.fail(command), { as, ...options })
}

describe("X01, X02: what a server says of its own accord cannot act on anybody's terminal", () => {
  for (const [command, operation] of Object.entries(asked))
    test(`in ${command}`, async () => {
      await using shell = await Shell.open()
      await shell.register('alice')
      for (const [what, explanation] of Object.entries(hostile)) {
        answering(shell.server, operation, { kind: 'refuse', error: new RefusedError('limited', explanation) })
        const human = await running(shell, command, { json: false })
        assert.equal(human.code, 7, what)
        assert.equal(human.out, '')
        assertHarmless(human)
        assert.match(human.err, /^error: the server refused: limited\n {2}why: .*\n {2}try: .*\n$/)
        const json = await running(shell, command, { json: true })
        assertHarmless(json)
        const [event, ...more] = eventsIn(json)
        assert.deepEqual([event?.code, more], ['limited', []])
        assert.equal(event?.message, `the server refused: limited: ${explanation}`, 'a program gets the exact text')
      }
    })
})

describe('X01, X02: a name that no account can have', () => {
  const lies: Record<string, (server: FakeServer, name: AccountName) => Reply> = {
    people: (server, name) => answer('people', { isDirectory: true, people: called(server, name), isLast: true }),
    'people NAME': (server, name) => answer('find', called(server, name)[0]),
    requests: (server, name) =>
      answer(
        'requests',
        called(server, name).map(({ account }) => ({ account, name, conversation: someConversation, at: 1 })),
      ),
  }
  for (const [command, lie] of Object.entries(lies))
    test(`is not shown by ${command}: the server is told on`, async () => {
      await using shell = await Shell.open()
      await shell.register('alice')
      for (const [what, name] of Object.entries(hostile)) {
        // what the codec of a name would not let through is what this server says
        shell.server.lie = (operation) =>
          operation === asked[command as keyof typeof asked] ? lie(shell.server, name as AccountName) : undefined
        for (const json of [false, true]) {
          const ended = await running(shell, command, { json })
          assert.equal(ended.code, 3, `${what}: ${ended.out}${ended.err}`)
          assertHarmless(ended)
          if (json)
            assert.deepEqual(
              eventsIn(ended).map(({ code }) => code),
              ['bad-answer'],
            )
        }
      }
    })
})

describe('S01: a name that stands for another account than before', () => {
  /** Alice has seen Bob; from now on the server says that his name is Carol's account. */
  async function deceived(): Promise<Shell> {
    const shell = await Shell.open()
    for (const name of ['alice', 'bob', 'carol']) assert.equal((await shell.register(name)).code, 0)
    assert.equal((await shell.run((context) => person(context, 'bob'))).code, 0)
    const [, bob, carol] = shell.server.people()
    assert(bob !== undefined && carol !== undefined)
    const other = { ...carol, name: bob.name }
    shell.server.lie = (operation) => {
      if (operation === 'find') return answer('find', other)
      return operation === 'people' ? answer('people', { isDirectory: true, people: [other], isLast: true }) : undefined
    }
    return shell
  }

  test('is refused when it is asked for, and told of by every command after that', async () => {
    await using shell = await deceived()
    const json = await shell.run((context) => person(context, 'bob'), { json: true })
    assert.equal(json.code, 5)
    assert.deepEqual(
      eventsIn(json).map(({ event, code }) => ({ event, code })),
      [{ event: 'error', code: 'account-changed' }],
    )
    shell.server.lie = undefined
    for (const command of [requests, devices, people]) {
      const after = await shell.run(command)
      assert.match(after.err, /^note: bob: the name stands for another account than before/)
    }
  })

  test('is marked in the list', async () => {
    await using shell = await deceived()
    assert.equal((await shell.run(people)).out, 'bob  ALARM: another account than before\n')
    const [alarm, bob] = eventsIn(await shell.run(people, { json: true }))
    assert.deepEqual([alarm?.event, alarm?.code], ['notice', 'other-account'])
    assert.deepEqual([bob?.event, bob?.isOtherAccount], ['person', true])
  })
})

describe('looking', () => {
  test('begins no profile where there is none', async () => {
    await using shell = await Shell.open()
    for (const command of [whoami, people, requests, devices]) {
      const ended = await shell.run(command, { as: 'nobody', json: true })
      assert.equal(ended.code, 4)
      assert.equal(eventsIn(ended)[0]?.code, 'not-registered')
      assert(!existsSync(shell.of('nobody')))
    }
    assert.equal(shell.server.sessions.length, 0)
  })

  test('at oneself asks no server', async () => {
    await using shell = await Shell.open()
    await shell.register('alice')
    shell.server.isReachable = false
    const { code, out } = await shell.run(whoami)
    assert.equal(code, 0)
    assert.match(out, /^alice on server\.example\naccount [\w-]{43}\ndevice {2}[0-9a-f]{32}\n$/)
  })

  test('at an empty server says so, beside the results', async () => {
    await using shell = await Shell.open()
    await shell.register('alice')
    const empty = { isDirectory: false, people: [], isLast: true }
    shell.server.lie = (operation) => (operation === 'people' ? answer('people', empty) : undefined)
    const nobody = await shell.run(people)
    assert.deepEqual([nobody.code, nobody.out], [0, ''])
    assert.equal(
      nobody.err,
      'note: you have no conversations yet\nnote: others are found by their exact name: messageu people NAME\n',
    )
    assert.deepEqual(
      eventsIn(await shell.run(requests, { json: true })).map(({ event, code }) => ({ event, code })),
      [{ event: 'notice', code: 'nobody' }],
    )
  })

  test('shows a person who waits by name and time', async () => {
    await using shell = await Shell.open()
    await shell.register('alice')
    await shell.register('bob')
    const [, bob] = shell.server.people()
    assert(bob !== undefined)
    const waiting = [{ account: bob.account, name: bob.name, conversation: someConversation, at: 86_400_000 }]
    shell.server.lie = (operation) => (operation === 'requests' ? answer('requests', waiting) : undefined)
    assert.equal((await shell.run(requests)).out, 'bob  since 1970-01-02T00:00:00.000Z\n')
    const [request] = eventsIn(await shell.run(requests, { json: true }))
    assert.deepEqual([request?.event, request?.name, request?.at], ['request', 'bob', 86_400_000])
  })
})

test('a command ends with its session, and does not wait for a server that went away', async () => {
  await using shell = await Shell.open()
  await shell.register('alice')
  for (const command of [people, requests, devices, (context: Context) => person(context, 'bob')]) {
    shell.server.isReachable = true
    shell.server.lie = (operation, _body, session) => {
      if (operation === 'prove') return undefined
      shell.server.isReachable = false
      session.cut()
      return { kind: 'silence' }
    }
    const ended = await shell.run(command, { json: true })
    assert.deepEqual([ended.code, eventsIn(ended).map(({ code }) => code)], [3, ['cut-off']])
  }
})

describe('a new account', () => {
  test('is the same one when its answer was lost and the command comes again', async () => {
    await using shell = await Shell.open()
    shell.server.lie = (operation, _body, session) => {
      if (operation !== 'prove') return undefined
      session.cut()
      return { kind: 'silence' }
    }
    assert.equal((await shell.register('alice')).code, 3)
    const [before] = shell.server.people()
    shell.server.lie = undefined
    assert.equal((await shell.register('alice')).code, 0)
    assert.deepEqual(shell.server.people(), [before])
    const again = await shell.register('alice')
    assert.equal(again.code, 1)
    assert.match(again.err, /is alice already\n/)
  })

  test('N08: is not asked for at a server with another key than the link says', async () => {
    await using shell = await Shell.open()
    await using other = await Shell.open()
    shell.server.hello = { serverKey: other.server.key.publicKey }
    const ended = await shell.register('alice')
    assert.equal(ended.code, 5)
    assert.match(ended.err, /has another key than the link says/)
    assert.deepEqual(shell.server.requests, [])
  })

  for (const name of ['x', 'а'.repeat(65), 'alice\u0430', ' alice', 'a\u001b[31m', 'al\u200bice', '\u202ealice'])
    test(`X02: cannot be called ${JSON.stringify(name.slice(0, 10))}, and no words are made for it`, async () => {
      await using shell = await Shell.open()
      const wordsFile = shell.of('words')
      const ended = await shell.run((context) => register(context, { name, server: shell.link, wordsFile }))
      assert.equal(ended.code, 2)
      assertHarmless(ended)
      assert(!existsSync(wordsFile))
      assert(!existsSync(shell.of('alice')))
    })

  for (const link of ['', 'nonsense', 'messageu://host', 'messageu://host/#short', 'messageu://host/#\u001b[31m'])
    test(`is not asked for at ${JSON.stringify(link)}, which is no link`, async () => {
      await using shell = await Shell.open()
      const given = { name: 'alice', server: link, wordsFile: shell.of('words') }
      const ended = await shell.run((context) => register(context, given), { json: true })
      assert.equal(ended.code, 2)
      assert.equal(eventsIn(ended)[0]?.code, 'bad-link')
      assert(!existsSync(shell.of('words')))
    })
})

test('an account that was recovered is the same one, and its other device is told that it is off the list', async () => {
  await using shell = await Shell.open()
  await shell.register('alice')
  const [before] = eventsIn(await shell.run(whoami, { json: true }))
  const given = { server: shell.link, wordsFile: shell.of('alice.words') }
  const [recovered] = eventsIn(await shell.run((context) => recover(context, given), { as: 'new', json: true }))
  assert.deepEqual([recovered?.event, recovered?.account], ['recovered', before?.account])
  assert.notEqual(recovered?.device, before?.device)
  const old = await shell.run(devices, { json: true })
  assert.equal(old.code, 4)
  assert.equal(eventsIn(old)[0]?.code, 'delisted')
  const list = await shell.run(devices, { as: 'new' })
  assert.match(
    list.out,
    new RegExp(
      `^${recovered?.device} {2}since version 2 of the list {2}\\(this device, which manages the account\\)\\n$`,
    ),
  )
})

function answer<N extends 'people' | 'find' | 'requests'>(name: N, body: ResponseOf<N>): Reply {
  return { kind: 'answer', body: done(name, body) }
}

/** The only person on the server, under a name that is not a name. */
function called(server: FakeServer, name: AccountName) {
  return server.people().map((each) => ({ ...each, name }))
}
