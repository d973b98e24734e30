import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { utf8Encode } from '@messageu/protocol'
import { newSeed, Secret } from '../src/secret.ts'
import { signingKey } from '../src/signing.ts'
import { accountKeyFromWords, newWords, parseWords, UnknownWordError } from '../src/words.ts'
import { toHex } from './hex.ts'
import { seeded } from './seeded.ts'

const words = newWords(seeded('words')).show()

test('new words are 24, and other ones each time', () => {
  const random = seeded('many words')
  const phrases = Array.from({ length: 20 }, () => newWords(random).show())
  for (const phrase of phrases) assert.equal(phrase.length, 24)
  assert.equal(new Set(phrases.map((phrase) => phrase.join(' '))).size, 20)
})

test('words that were written down and typed again are the same secret', () => {
  const random = seeded('written down')
  for (let i = 0; i < 50; i++) {
    const made = newWords(random)
    const typed = parseWords(made.show().join(' '))
    assert.deepEqual(typed.entropy().reveal(), made.entropy().reveal())
  }
})

test('the account key is HKDF-SHA-256 of the entropy, as WebCrypto computes it', async () => {
  const made = newWords(seeded('derived'))
  const input = await crypto.subtle.importKey('raw', made.entropy().reveal().slice(), 'HKDF', false, ['deriveBits'])
  const info = utf8Encode('messageu/account-key/1').slice()
  const bits = await crypto.subtle.deriveBits(
    { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info: new Uint8Array(info) },
    input,
    256,
  )
  const expected = await signingKey(new Secret(new Uint8Array(bits)))
  assert.equal(toHex((await accountKeyFromWords(made)).publicKey), toHex(expected.publicKey))
})

test('I4: words in JSON and in text are not shown', () => {
  const made = newWords(seeded('words'))
  assert.equal(JSON.stringify({ made }), '{"made":"[words]"}')
  assert.equal(`${made}`, '[words]')
  assert.deepEqual(Reflect.ownKeys(made), [])
})

describe('a word that is not on the list', () => {
  const typed = (place: number, word: string): string => words.with(place - 1, word).join(' ')

  test('is told by its place', () => {
    for (const place of [1, 7, 24])
      assert.throws(() => parseWords(typed(place, 'crocodille')), { reason: 'unknown-word', place })
  })

  for (const { wrong, meant } of [
    { wrong: 'abandn', meant: 'abandon' },
    { wrong: 'aban', meant: 'abandon' },
    { wrong: 'abandoned', meant: 'abandon' },
    { wrong: 'zooo', meant: 'zoo' },
    { wrong: 'krouch', meant: 'crouch' },
    { wrong: 'aboev', meant: 'above' },
    { wrong: 'ellbow', meant: 'elbow' },
  ])
    test(`${wrong} brings ${meant} to mind`, () => assert.ok(suggested(typed(3, wrong)).includes(meant)))

  test('brings at most three to mind, and what is near to none brings none', () => {
    for (const wrong of ['a', 'bax', 'stat']) assert.ok(suggested(typed(3, wrong)).length <= 3)
    assert.deepEqual(suggested(typed(3, 'qqqqqqqq')), [])
    assert.deepEqual(suggested(typed(3, 'x'.repeat(100_000))), [])
  })

  test('I4: is not repeated by the error, which shows a suggestion only when asked', () => {
    const error = errorOf(typed(3, 'crocodille'))
    assert.doesNotMatch(`${error.message} ${JSON.stringify(error)}`, /crocod/)
    assert.deepEqual(
      Object.keys(error).filter((key) => key.includes('typed') || key.includes('suggest')),
      [],
    )
  })
})

test('each single word that is replaced by another is noticed, but for the one in 256 that a checksum lets pass', () => {
  let passed = 0
  for (let place = 0; place < 24; place++)
    for (const other of ['abandon', 'legal', 'zoo', 'width']) {
      try {
        parseWords(words.with(place, other).join(' '))
        passed++
      } catch (error) {
        assert.equal((error as { reason?: string }).reason, 'words-do-not-fit')
      }
    }
  assert.ok(passed <= 3, `${passed} of 96`)
})

test('words are not the seed itself: a device seed with the same bytes gives another key', async () => {
  const entropy = newSeed(seeded('words'))
  const key = await accountKeyFromWords(newWords(seeded('words')))
  assert.notDeepEqual(key.publicKey, (await signingKey(entropy)).publicKey)
})

function suggested(text: string): readonly string[] {
  return errorOf(text).suggestions()
}

function errorOf(text: string): UnknownWordError {
  try {
    parseWords(text)
  } catch (error) {
    if (error instanceof UnknownWordError) return error
    throw error
  }
  throw new Error('every word was known')
}
