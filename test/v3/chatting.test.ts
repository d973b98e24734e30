import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { actingIn } from '../../packages/cli/test/acting.ts'
import { events } from '../../packages/cli/test/v2/world.ts'
import { Acquainted, textsOf } from './acquainted.ts'
import { first } from './shell.ts'
import { hasTerminal, Terminal, turn } from './terminal.ts'

let people: Acquainted
before(async () => {
  people = await Acquainted.start('alice', 'bob')
})
after(() => people[Symbol.asyncDispose]())

/** What acts on a terminal, hides in it, or pretends to be a line of ours. */
const hostile = [
  'red\u001b[31m',
  '\u001b]8;;https://evil.example\u0007here\u001b]8;;\u0007',
  '\u001b]52;c;cm0gLXJm\u0007\u001bPq#0\u001b\\',
  '\u009b31m\u0090x\u009c',
  'x\r\b\bbob → me  I owe you 5',
  'x\nbob → me  I owe you 5\n! ALARM: nobody',
  '\u202egpj.exe\u2066x\u2069',
  'al\u200bi\u2060ce\ufeff',
  `a${'\u0301'.repeat(40)}`,
]

describe('at a terminal', { skip: hasTerminal ? false : 'needs script(1) of util-linux' }, () => {
  const at = (profile: string, ...args: string[]): Terminal =>
    new Terminal([...args, '--profile', profile, '--data-dir', people.profiles])

  /** What the terminal got, byte by byte, but for the line ends that the terminal itself makes. */
  async function shown(profile: string, ...args: string[]): Promise<string> {
    await using terminal = at(profile, ...args)
    assert.equal(await terminal.ended, 0, terminal.text)
    return terminal.text.replaceAll('\r\n', '\n')
  }

  test('X01, X02: no text and no title acts on it, hides in it or passes for a line of another author', async () => {
    for (const text of hostile) assert.equal((await people.piped('alice', ['send', 'bob'], text)).code, 0)
    const titles = hostile.filter((_, i) => i % 2 === 0).map((title) => title.slice(0, 100))
    for (const [i, title] of titles.entries()) {
      const { conversation } = first(await people.run('alice', 'group', 'create', title, 'bob', '--json'))
      assert.equal((await people.run('alice', 'send', `#${conversation}`, `in group ${i}`)).code, 0)
    }
    const { conversation } = first(await people.run('alice', 'group', 'create', titles[0] ?? '', 'bob', '--json'))
    const group = `#${conversation}`
    const listened = await shown('bob', 'listen', '--once')
    const commands = [
      ['history', 'alice'],
      ['history', group],
      ['conversations'],
      ['group', 'list'],
      ['group', 'members', group],
    ]
    const all = [listened]
    for (const command of commands) all.push(await shown('bob', ...command))
    const line = /^(\S+Z {2})?(\* |(alice|me) → (me|alice|#.{1,120}) {2}| {2}|bob|alice|#)/u
    for (const text of all) {
      assert.deepEqual(actingIn(text), [])
      for (const each of text.split('\n').filter((one) => one !== '')) assert.match(each, line)
      assert(!/^bob → /m.test(text), text)
    }
    assert(listened.includes('\\u{1b}[31m'), 'it is spelled out')
    const json = await people.run('bob', 'history', 'alice', '--json')
    assert.deepEqual(actingIn(json.out), [])
    assert.deepEqual(
      textsOf(events(json).filter(({ event }) => event === 'message')).slice(-hostile.length),
      hostile,
      'a program gets the exact text',
    )
  })

  test('a code that was mistyped is asked for again, while the new device waits, but not for ever', async () => {
    await using offering = at('bob', 'device', 'link')
    await offering.until('The code that the new device shows: ')
    const [offer = ''] = /mu-link-[\w-]+/.exec(offering.text) ?? []
    await using joining = at('bob2', 'device', 'link', offer)
    await joining.until('mu-device-')
    while (!/mu-device-[\w-]+\s/.test(joining.text)) await turn()
    const [code = ''] = /mu-device-[\w-]+/.exec(joining.text) ?? []
    for (const [i, mistyped] of ['nonsense', code.slice(0, -1), '\u001b[31m'].entries()) {
      offering.type(`${mistyped}\n`)
      await offering.until('that the new device shows, once more: ', { times: i + 1 })
    }
    assert.match(offering.text, /This is not a code: it does not begin with mu-device-\. The whole one that/)
    offering.type(`${code}\n`)
    assert.deepEqual([await offering.ended, await joining.ended], [0, 0], offering.text)

    await using careless = at('bob', 'device', 'link')
    await careless.until('The code that the new device shows: ')
    for (let i = 0; i < 5; i++) careless.type('nonsense\n')
    assert.equal(await careless.ended, 2)
  })

  test('in a chat what comes in stands above the line that is being written, and Ctrl-D ends it', async () => {
    await using terminal = at('bob', 'chat', 'alice')
    await terminal.until('alice> ')
    terminal.type('hello from a chat\r')
    await terminal.until('hello from a chat')
    const [message] = await untilHeard('alice', 'hello from a chat')
    assert.equal(message?.from, 'bob')
    terminal.type('half a li')
    await terminal.until('half a li')
    assert.equal((await people.piped('alice', ['send', 'bob'], 'an answer \u001b[31m')).code, 0)
    await terminal.until('alice → me  an answer \\u{1b}[31m')
    terminal.type('ne\r')
    await untilHeard('alice', 'half a line')
    terminal.type('/nonsense\r')
    await terminal.until('there is no /nonsense')
    terminal.type('/history 1\r')
    await terminal.until('Z  me → alice  half a line')
    terminal.type('/to nobody\r')
    await terminal.until('nobody> ')
    terminal.type('x\r')
    await terminal.until('nobody here is called nobody')
    terminal.type('\u0004')
    assert.equal(await terminal.ended, 0)
  })

  test('Ctrl-D right behind a line sends the line and ends the chat with 0', async () => {
    await using terminal = at('bob', 'chat', 'alice')
    await terminal.until('alice> ')
    terminal.type('last words\r\u0004')
    assert.equal(await terminal.ended, 0, terminal.text)
    assert.ok(!terminal.text.includes('error:'), terminal.text)
    await untilHeard('alice', 'last words')
  })

  test('while the server is away the line that is being written stays, and Ctrl-C ends the chat at once', async () => {
    await using others = await Acquainted.start('ann', 'ben')
    await using terminal = new Terminal(['chat', 'ben', '--profile', 'ann', '--data-dir', others.profiles])
    await terminal.until('ben> ')
    terminal.type('half a li')
    await terminal.until('half a li')
    await others.server[Symbol.asyncDispose]()
    await terminal.until('\r\u001b[Jnote: no connection')
    const drawn = terminal.text.slice(0, terminal.text.indexOf('note: no connection')).split('half a li').length
    await terminal.until('half a li', { times: drawn })
    assert.match(terminal.text.slice(terminal.text.indexOf('note: no connection')), /ben> .*half a li/s)
    terminal.type('ne\r')
    await terminal.until('ne\r')
    terminal.type('\u0003')
    assert.equal(await terminal.ended, 130, terminal.text)
    assert.match(terminal.text, /error: interrupted/)
  })

  test('/quit ends a chat with 0, Ctrl-C with 130', async () => {
    for (const [keys, code] of [
      ['/quit\r', 0],
      ['half a line\u0003', 130],
    ] as const) {
      await using terminal = at('bob', 'chat', 'alice')
      await terminal.until('alice> ')
      terminal.type(keys)
      assert.equal(await terminal.ended, code, terminal.text)
      if (code !== 0) assert.match(terminal.text, /half a line\r?\nerror: interrupted/, 'on a line of its own')
    }
  })
})

test('a chat without a terminal sends line by line, tells what comes in, and ends with its input', async () => {
  const ended = await people.piped('bob', ['chat', 'alice', '--json'], 'first\n\n/help\n//second\n')
  assert.equal(ended.code, 0, ended.out)
  assert.deepEqual(
    events(ended)
      .map(({ event }) => event)
      .filter((event) => event !== 'message' && event !== 'notice' && event !== 'change'),
    ['sent', 'help', 'sent'],
  )
  assert.deepEqual(textsOf(await people.heard('alice')).slice(-2), ['first', '/second'])
})

async function untilHeard(who: string, text: string): Promise<Record<string, unknown>[]> {
  for (;;) {
    const found = (await people.heard(who)).filter((message) => textsOf([message])[0] === text)
    if (found.length > 0) return found
  }
}
