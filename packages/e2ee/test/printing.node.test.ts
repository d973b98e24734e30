// In Node only: browsers have no util.inspect, and what they print of an object is not told to programs.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { newDevice } from '../src/device.ts'
import { newSeed, type Secret } from '../src/secret.ts'
import { signingKey } from '../src/signing.ts'
import { newWords, parseWords } from '../src/words.ts'
import { toHex } from './hex.ts'
import { seeded } from './seeded.ts'

const printers: Readonly<Record<string, (value: unknown) => string>> = {
  'util.inspect': (value) => inspect(value),
  'util.inspect with everything': (value) => inspect(value, { depth: null, showHidden: true, getters: true }),
  'util.inspect without custom functions': (value) =>
    inspect(value, { depth: null, showHidden: true, customInspect: false }),
  JSON: (value) => JSON.stringify({ value, list: [value] }),
  'a template': (value) => `${value}`,
  'an error': (value) => inspect(new Error(`${value}`, { cause: value }), { depth: null }),
}

/** The bytes in each form in which they have been seen to leak. */
function forms(secret: Secret): string[] {
  const bytes = Buffer.from(secret.reveal())
  return [toHex(bytes), bytes.toString('base64'), bytes.toString('base64url'), bytes.join(','), bytes.join(', ')].map(
    (form) => form.slice(0, 20), // a printer that cuts lines short has leaked all the same
  )
}

for (const [printer, print] of Object.entries(printers)) {
  test(`I4: ${printer} shows nothing of a seed, a device, a key or words`, async () => {
    const random = seeded('canaries')
    const seed = newSeed(random)
    const device = newDevice(random)
    const words = newWords(random)
    const key = await signingKey(seed)
    const secrets = [seed, device.signatureSeed, device.requestSeed, words.entropy()]
    for (const value of [seed, device, key, words, { deep: { inside: [seed, words] } }]) {
      const printed = print(value)
      for (const form of secrets.flatMap(forms)) assert.ok(!printed.includes(form), `${form} in ${printed}`)
      for (const word of words.show()) assert.doesNotMatch(printed, new RegExp(`\\b${word}\\b`))
    }
  })

  test(`I4: ${printer} shows no word of a phrase that was typed wrongly`, () => {
    const words = newWords(seeded('typed')).show()
    const wrong = [words.slice(1), ['crocodille', ...words.slice(1)], [...words.slice(1), words[0] ?? '']]
    for (const typed of wrong) {
      let printed = ''
      assert.throws(
        () => parseWords(typed.join(' ')),
        (error) => {
          printed = print(error)
          return true
        },
      )
      for (const word of typed) assert.ok(!wordsIn(printed).has(word), `${word} in ${printed}`)
    }
  })
}

/** The words of a text that are not those of our own messages and file names. */
function wordsIn(printed: string): ReadonlySet<string> {
  return new Set(printed.match(/[a-z]+/g))
}
