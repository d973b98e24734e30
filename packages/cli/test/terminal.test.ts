import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { jsonLine, printable, printableText } from '../src/terminal.ts'
import { actingIn } from './acting.ts'

for (const [name, text] of Object.entries({
  'a colour': '\u001b[31mred',
  'a window title': '\u001b]0;title\u0007',
  'a clipboard write (OSC 52)': '\u001b]52;c;aGk=\u001b\\',
  'a link (OSC 8)': '\u001b]8;;http://x\u001b\\click\u001b]8;;\u001b\\',
  'a device control string': '\u001bPq\u001b\\',
  'an 8-bit CSI': '\u009b31m',
  'a bell': 'ding\u0007',
  'a carriage return': 'real\rfake',
  backspaces: 'abc\b\b\bxyz',
  'a delete': 'a\u007fb',
  'a line break': 'one\ntwo',
  'a line separator': 'one\u2028two\u2029three',
  'a right-to-left override': 'exe.\u202egnp',
  isolates: '\u2066a\u2069',
  'zero-width characters': 'a\u200b\u200c\u200d\u2060\ufeffb',
  'tag characters': 'a\u{e0061}\u{e007f}b',
  'half a character': 'a\ud800b',
  'a tab': 'a\tb',
}))
  test(`X01, X02: ${name} is spelled out`, () => {
    const shown = printable(text)
    assert.deepEqual(actingIn(shown), [])
    assert.doesNotMatch(shown, /\n/)
    assert.match(shown, /\\u\{[0-9a-f]+\}/)
  })

test('X02: a pile of combining marks is cut down, and real ones stay', () => {
  assert.equal(printable('שָׁלוֹם é नमस्ते ✌️ 👍'), 'שָׁלוֹם é नमस्ते ✌️ 👍')
  const shown = printable(`a${'\u0301'.repeat(1000)}`)
  assert.equal(shown.match(/\u0301/g)?.length, 5)
  assert.match(printable('\u0301x'), /^\\u\{301\}x/)
})

test('X01: a line of 1 MiB is cut where one line is due, and says so', () => {
  assert.match(printable('x'.repeat(2 ** 20)), /^x{4096}… \(1044480 more\)$/)
})

test('X01: no line of a text can pass for one of ours', () => {
  const shown = printableText('hello\nerror: fake\r\n\u001b[2Jnote: fake\n\ttabbed')
  assert.deepEqual(shown.split('\n').slice(1), ['  error: fake', '  \\u{1b}[2Jnote: fake', '      tabbed'])
})

test('X01: a text of 1 MiB is shown whole', () => {
  assert.equal(printableText('x'.repeat(2 ** 20)).length, 2 ** 20)
})

test('X01: a line of JSON has the exact text and nothing that acts on a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const line = jsonLine({ event: 'message', text })
      assert.deepEqual(JSON.parse(line), { v: 1, event: 'message', text })
      assert.deepEqual(actingIn(line.slice(0, -1)), [])
      assert.doesNotMatch(line.slice(0, -1), /\n/)
    }),
  )
})

test('X01, X02: whatever a peer writes, what is printed is plain', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.deepEqual(actingIn(printable(text)), [])
      assert.doesNotMatch(printable(text), /\n/)
      assert.deepEqual(actingIn(printableText(text)), [])
    }),
  )
})
