import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Writable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { systemClock, systemRandom, type Transport } from '@messageu/client'
import { nodeTransport } from '@messageu/client/node'
import { type OperationName, operations, readFrames } from '@messageu/protocol/v3'
import { send } from '../../packages/cli/src/v3/send.ts'
import { type Ended, events } from '../../packages/cli/test/v2/world.ts'
import { Run } from '../serverProcess.ts'
import { Acquainted, textsOf } from './acquainted.ts'
import { first } from './shell.ts'

let people: Acquainted

/** `messageu` as one of the people of this file. */
const as =
  (profile: string) =>
  (...args: string[]): Promise<Ended> =>
    people.run(profile, ...args)
const [alice, bob, carol] = [as('alice'), as('bob'), as('carol')] as const

/** A command that runs until it is ended. */
function start(profile: string, ...args: string[]): Run {
  return new Run([...args, '--profile', profile, '--data-dir', people.profiles], {})
}

before(async () => {
  people = await Acquainted.start('alice', 'bob', 'carol')
})

after(() => people[Symbol.asyncDispose]())

describe('a text', () => {
  test('goes from one to the other, is shown once with what a program needs, and stays in both histories', async () => {
    const sent = first(await alice('send', 'bob', 'hello', 'there', '--json'))
    assert.deepEqual(Object.keys(sent), ['v', 'event', 'id', 'conversation', 'sequence', 'at'])
    assert.match(String(sent.id), /^[0-9a-f]{32}$/)
    const [message, ...more] = await people.heard('bob')
    assert.deepEqual(more, [])
    const { at, sentAt, account, device, ...rest } = message ?? {}
    const { id, conversation, sequence } = sent
    assert.deepEqual(rest, {
      v: 1,
      event: 'message',
      id,
      conversation,
      sequence,
      from: 'alice',
      isOwn: false,
      content: { kind: 'text', text: 'hello there' },
    })
    const me = first(await alice('whoami', '--json'))
    assert.deepEqual([account, device], [me.account, me.device])
    for (const time of [sentAt, at]) assert(Math.abs(Number(time) - Number(sent.at)) < 60_000)
    assert.deepEqual(await people.heard('bob'), [], 'what was shown does not come again')
    assert.match((await alice('history', 'bob')).out, /Z {2}me → bob {2}hello there\n$/)
    assert.match((await bob('history', 'alice', '--limit', '1')).out, /^\S+Z {2}alice → me {2}hello there\n$/)
    const [last] = events(await bob('history', 'alice', '--limit', '1', '--json'))
    assert.deepEqual(last, message, 'the history tells it as it was told')
  })

  test('comes from arguments, from - and through a pipe, whose last line break is the pipe’s own', async () => {
    assert.equal((await alice('send', 'bob', 'x', 'y')).code, 0)
    assert.equal((await people.piped('alice', ['send', 'bob', '-'], 'one\ntwo\n')).code, 0)
    assert.equal((await people.piped('alice', ['send', 'bob'], '\ufeffüñï\r\n')).code, 0)
    assert.deepEqual(textsOf(await people.heard('bob')), ['x y', 'one\ntwo', '\ufeffüñï'])
  })

  test('may have 200 000 bytes, and one more is refused by a sentence that names the limit', async () => {
    const text = 'x'.repeat(200_000)
    assert.equal((await people.piped('alice', ['send', 'bob'], text)).code, 0)
    assert.deepEqual(textsOf(await people.heard('bob')), [text])
    const ended = await people.piped('alice', ['send', 'bob'], `${text}x`)
    assert.equal(ended.code, 7)
    assert.match(ended.err, /more than 200000 bytes/)
  })

  test('that cannot be sent is refused with an exit code that says why', async () => {
    const outcomes = [
      [['send', 'nobody', 'x'], 6, 'unknown-person'],
      [['send', '#nothing', 'x'], 6, 'not-found'],
      [['send', 'bob', '--wrong'], 2, 'usage'],
      [['send', 'bob'], 2, 'usage'],
      [['send', 'bob', ''], 2, 'usage'],
      [['send', 'bob', '-'], 2, 'usage'],
      [['group', 'create', '', 'bob'], 2, 'usage'],
      [['group', 'create', ' ', 'bob'], 2, 'usage'],
      [['send', 'x', 'too short a name'], 2, 'bad-name'],
      [['history', 'nobody'], 6, 'not-found'],
      [['history', 'bob', '--limit', '0'], 2, 'usage'],
      [['history', 'bob', '--limit', 'x'], 2, 'usage'],
      [['listen', '--save', 'folder'], 2, 'usage'],
      [['verify', 'nobody'], 6, 'unknown-person'],
      [['verify', 'me'], 2, 'usage'],
      [['verify', 'alice', '--confirm'], 2, 'usage'],
      [['alarms', 'accept', 'bob'], 6, 'not-found'],
      [['requests', 'accept', 'nobody'], 6, 'unknown-person'],
      [['proof', 'bob', 'nonsense'], 2, 'usage'],
      [['proof', 'bob', 'ab'.repeat(16)], 6, 'not-found'],
      [['proof', 'check', '/nonexistent'], 6, 'no-such-file'],
      [['device', 'link', 'nonsense'], 1, 'already-registered'],
      [['device', 'link', '--code', 'nonsense'], 2, 'bad-code'],
      [['device', 'remove', 'xyz'], 2, 'usage'],
      [['device', 'remove', 'abcdef0123456789'], 6, 'not-found'],
    ] as const
    for (const [args, code, word] of outcomes) {
      const ended = await people.piped('alice', [...args, '--json'], '')
      assert.deepEqual([ended.code, events(ended).map((event) => event.code)], [code, [word]], args.join(' '))
    }
    const bytes = await people.piped('alice', ['send', 'bob', '--json'], Buffer.from([0x61, 0xff]))
    assert.deepEqual([bytes.code, first(bytes).code], [2, 'bad-text'])
    const stranger = await as('stranger')('send', 'bob', 'x', '--json')
    assert.deepEqual([stranger.code, first(stranger).code], [4, 'not-registered'])
    const link = await as('stranger')('device', 'link', 'mu-link-nonsense', '--json')
    assert.deepEqual([link.code, first(link).code], [2, 'bad-code'])
  })

  test('comes in while somebody listens, also after the server was away, until Ctrl-C', async () => {
    const listening = start('bob', 'listen', '--json')
    const said = (text: string): boolean =>
      textsOf(listening.events.filter(({ event }) => event === 'message')).includes(text)
    assert.equal((await alice('send', 'bob', 'before')).code, 0)
    await listening.until(() => said('before'))
    await people.server.end()
    await listening.until(() => listening.events.some(({ code }) => code === 'lost'))
    const away = await alice('send', 'bob', 'nobody hears', '--json')
    assert.deepEqual([away.code, first(away).code], [3, 'unreachable'])
    await people.restart()
    assert.equal((await alice('send', 'bob', 'after')).code, 0)
    await listening.until(() => said('after'))
    listening.child.kill('SIGINT')
    assert.equal((await listening.exited).code, 130)
  })
})

test('I1: a text whose answer is lost is said to be stored, and goes out once by the next command', async () => {
  const out = new Gathered()
  const context = {
    output: { json: true, out, err: out },
    folder: path.join(people.profiles, 'alice'),
    signal: new AbortController().signal,
    world: { transport: cutAt('send'), clock: systemClock, random: systemRandom },
  }
  await assert.rejects(send(context, 'bob', ['once']), { reason: 'lost' })
  const [queued, ...more] = out.events
  assert.deepEqual([queued?.event, queued?.code, more], ['notice', 'queued', []])
  assert.deepEqual(textsOf(await people.heard('bob')), [])
  assert.equal((await alice('people')).code, 0)
  assert.deepEqual(textsOf(await people.heard('bob')), ['once'])
  // that command may have ended before its answer came: the one that hears it puts the text in its place
  let { out: shown } = await alice('history', 'bob')
  for (let tries = 0; tries < 20 && !shown.endsWith('once\n'); tries++) {
    await alice('people')
    shown = (await alice('history', 'bob')).out
  }
  assert.match(shown, /me → bob {2}once\n$/)
  assert.deepEqual(textsOf(await people.heard('bob')), [], 'nothing a second time')
})

describe('a group', () => {
  test('is made, written to, renamed, handed on, left; whoever is out reads nothing more', async () => {
    const made = first(await alice('group', 'create', 'family', 'bob', 'carol', '--json'))
    assert.deepEqual([made.event, made.title, made.standing], ['created', 'family', 'active'])
    assert.equal((await alice('send', '#family', 'all here?')).code, 0)
    const heardByBob = await people.heard('bob')
    assert.deepEqual(textsOf(heardByBob), [undefined, 'all here?'])
    assert.deepEqual(heardByBob[0]?.content, { kind: 'title', title: 'family' })
    assert.equal((await people.heard('carol', 'joined')).length, 1)
    assert.equal((await bob('group', 'rename', 'family', 'clan', '--json')).code, 1, 'only owners')
    assert.equal(first(await alice('group', 'owners', 'family', 'alice', 'bob', '--json')).event, 'owners')
    await people.heard('bob')
    assert.equal(first(await bob('group', 'rename', 'family', 'clan', '--json')).title, 'clan')
    await people.heard('alice')
    await people.heard('carol')
    const members = events(await carol('group', 'members', '#clan', '--json'))
    assert.deepEqual(members.map(({ name, isOwner, devices }) => ({ name, isOwner, devices })).sort(byName), [
      { name: 'alice', isOwner: true, devices: 1 },
      { name: 'bob', isOwner: true, devices: 1 },
      { name: 'carol', isOwner: false, devices: 1 },
    ])
    assert.equal((await alice('group', 'remove', 'clan', 'carol')).code, 0)
    assert.equal((await alice('send', '#clan', 'without carol')).code, 0)
    const last = events(await carol('listen', '--once', '--json'))
    assert.deepEqual(
      last.map(({ event, change }) => [event, change]),
      [['change', 'remove']],
    )
    const [kept] = events(await carol('conversations', '--json')).filter(({ title }) => title === 'clan')
    assert.equal(kept?.standing, 'removed')
    assert.equal((await carol('send', '#clan', 'let me in', '--json')).code, 6)
    assert.equal((await alice('group', 'add', 'clan', 'carol')).code, 0)
    assert.equal((await alice('send', '#clan', 'carol again')).code, 0)
    assert.deepEqual(textsOf(await people.heard('carol')).at(-1), 'carol again')
    assert.equal(first(await carol('group', 'leave', 'clan', '--json')).event, 'left')
    assert.match((await carol('group', 'list')).out, /^#clan {2}\([\w-]{8}\) {2}\[left\]\n$/)
    assert.match((await alice('group', 'list')).out, /^#clan /)
  })
})

test('I1: who is brought into a group while away reads everything since, though others have come meanwhile', async () => {
  await using club = await Acquainted.start('ann', 'ben', 'cas', 'dan')
  const by = (name: string, ...args: string[]): Promise<Ended> => club.run(name, ...args)
  const done = async (ended: Promise<Ended>): Promise<void> => assert.equal((await ended).code, 0)
  await done(by('ann', 'group', 'create', 'club', 'ben', 'cas'))
  await done(by('ann', 'send', '#club', 'one'))
  await done(by('ann', 'group', 'add', '#club', 'dan'))
  await done(by('ann', 'send', '#club', 'two'))
  await done(by('ann', 'group', 'remove', '#club', 'dan'))
  await done(by('ann', 'send', '#club', 'three'))
  for (const name of ['ben', 'cas']) {
    const ended = await by(name, 'listen', '--once', '--json')
    const told = events(ended)
    assert.deepEqual(
      told.filter(({ event }) => event === 'unopened' || event === 'gap' || event === 'rejoined'),
      [],
      ended.out,
    )
    const texts = textsOf(told.filter(({ event }) => event === 'message')).filter((text) => text !== undefined)
    assert.deepEqual(texts, ['one', 'two', 'three'])
  }
})

describe('X12: a proof of who wrote a message', () => {
  test('convinces whoever was not there, and one that was changed convinces nobody', async () => {
    const { id } = first(await alice('send', 'bob', 'I owe you 5', '--json'))
    await people.heard('bob')
    const file = people.folder.of('proof')
    const { bytes, code, err } = await bob('proof', 'alice', String(id))
    assert.deepEqual([code, err], [0, ''])
    await writeFile(file, bytes)
    const me = first(await alice('whoami', '--json'))
    const { name, account, device, content } = first(await as('nobody')('proof', 'check', file, '--json'))
    assert.deepEqual(
      { name, account, device, content },
      { name: 'alice', account: me.account, device: me.device, content: { kind: 'text', text: 'I owe you 5' } },
    )
    const shown = await as('nobody')('proof', 'check', file)
    assert.match(shown.out, /^alice wrote this.*\n {2}I owe you 5\n/)
    for (const place of [0, 0.2, 0.4, 0.6, 0.8, 0.99].map((part) => Math.floor(bytes.length * part))) {
      const changed = Buffer.from(await readFile(file))
      changed[place] = (changed[place] ?? 0) ^ 1
      await writeFile(people.folder.of('changed'), changed)
      const ended = await as('nobody')('proof', 'check', people.folder.of('changed'), '--json')
      assert.deepEqual([ended.code, first(ended).code], [1, 'unproved'], `byte ${place}`)
    }
  })
})

test('S02: both sides see the same 60 digits, and whoever has compared them is reminded of it', async () => {
  const [one, other] = [first(await alice('verify', 'bob', '--json')), first(await bob('verify', 'alice', '--json'))]
  assert.match(String(one.digits), /^\d{60}$/)
  assert.deepEqual([one.digits, one.payload], [other.digits, other.payload])
  assert.notEqual(one.digits, first(await alice('verify', 'carol', '--json')).digits)
  assert.equal(one.isVerified, false)
  assert.match((await alice('verify', 'bob')).out, /( \d{5}){4}\n( {2}\d{5}.*\n){2}/)
  assert.equal(first(await alice('verify', 'bob', '--confirm', '--json')).isVerified, true)
  assert.match((await alice('verify', 'bob')).out, /it is verified/)
})

describe('a second device', () => {
  test('comes in by two codes, has what was said, writes as its owner, and reads nothing once it is taken off', async () => {
    const line = ['--profile', 'bob', '--data-dir', people.profiles, '--json']
    await using offering = new Piped(['device', 'link', ...line])
    const offer = await offering.event('offer')
    const joining = start('bob2', 'device', 'link', String(offer.code), '--json')
    await joining.until(() => joining.events.some(({ event }) => event === 'code'))
    offering.type(`${joining.events.find(({ event }) => event === 'code')?.code}\n`)
    const linked = await offering.event('linked')
    assert.equal((await joining.exited).code, 0)
    assert.deepEqual(
      offering.events.map(({ event, kind }) => kind ?? event),
      ['offer', 'listed', 'brought-in', 'history', 'linked'],
    )
    const bob2 = as('bob2')
    await people.heard('bob2', 'joined')
    assert.match((await bob2('history', 'alice')).out, /alice → me {2}hello there\n/)
    const listed = events(await bob2('device', 'list', '--json'))
    assert.deepEqual(
      listed.map(({ isThis, isManager }) => [isThis, isManager]),
      [
        [false, undefined],
        [true, false],
      ],
    )
    assert.match((await bob('device', 'list')).out, /\(this device, which manages the account\)/)
    const cannot = await bob2('device', 'link', '--json')
    assert.equal(cannot.code, 1)
    assert.deepEqual(
      events(cannot).map(({ event, code }) => [event, code]),
      [['error', 'forbidden']],
    )
    assert.equal((await bob2('send', 'alice', 'from my other device')).code, 0)
    const [message] = (await people.heard('alice')).slice(-1)
    assert.deepEqual([message?.from, message?.device], ['bob', linked.device])
    const own = (await people.heard('bob')).at(-1)
    assert.deepEqual([own?.isOwn, textsOf([own ?? {}])[0]], [true, 'from my other device'])
    const told = await alice('listen', '--once')
    assert.equal(told.code, 0)

    const device = String(linked.device)
    assert.equal(first(await bob('device', 'remove', device.slice(0, 8), '--json')).device, device)
    assert.equal((await alice('send', 'bob', 'between us')).code, 0)
    const out = await bob2('listen', '--once', '--json')
    assert.deepEqual([out.code, first(out).code], [4, 'delisted'])
    assert.deepEqual(textsOf(await people.heard('bob')), ['between us'])
  })
})

test('an account that comes back with its words takes its place, shows who is there, and writes', async () => {
  const words = await readFile(`${people.profiles}/carol/recovery-words.txt`, 'utf8')
  assert.equal((await alice('send', 'carol', 'are you there?')).code, 0)
  const back = await people.piped('carol2', ['recover', '--json'], words)
  assert.equal(back.code, 0, back.out)
  const rejoined = events(back).filter(({ event }) => event === 'rejoined')
  assert(
    rejoined.some(({ members }) => JSON.stringify(members) === '["alice","carol"]'),
    back.out,
  )
  const sent = await as('carol2')('send', 'alice', 'I am')
  assert.equal(sent.code, 0, sent.err)
  const news = events(await alice('listen', '--once', '--json'))
  assert(
    news.some(({ event, name, added }) => event === 'devices' && name === 'carol' && Array.isArray(added)),
    'S01: told',
  )
  assert(
    news.some(
      ({ event, from, content }) => event === 'message' && from === 'carol' && textsOf([{ content }])[0] === 'I am',
    ),
  )
})

/** What acts on a terminal, hides in it, or pretends to be a line of ours. */
function byName(one: { name?: unknown }, other: { name?: unknown }): number {
  return String(one.name).localeCompare(String(other.name))
}

/** A run of `messageu` whose input stays open. */
class Piped extends Run implements AsyncDisposable {
  constructor(args: readonly string[]) {
    super(args, { input: 'pipe' })
  }

  type(text: string): void {
    this.child.stdin?.write(text)
  }

  async event(name: string): Promise<Record<string, unknown>> {
    await this.until(() => this.events.some(({ event }) => event === name))
    return this.events.find(({ event }) => event === name) ?? {}
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
  }
}

/** The network of this machine, which is cut in the moment in which such a request is made. */
function cutAt(name: OperationName): Transport {
  const transport = nodeTransport()
  return {
    async open(link, events, options) {
      const channel = await transport.open(link, events, options)
      return {
        certificate: channel.certificate,
        close: () => channel.close(),
        send(message) {
          if (![...readFrames(message)].some(({ code }) => code === operations[name].code)) return channel.send(message)
          channel.close()
        },
      }
    },
  }
}

class Gathered extends Writable {
  #text = ''

  get events(): Record<string, unknown>[] {
    return events({ code: 0, out: this.#text, err: '', bytes: Buffer.alloc(0) })
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#text += chunk.toString()
    done()
  }
}
