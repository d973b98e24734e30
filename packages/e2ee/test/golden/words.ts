import { accountIdOf } from '@messageu/protocol/v3'
import { sha256 } from '@noble/hashes/sha2.js'
import { accountKeyFromWords, newWords } from '../../src/words.ts'
import { toHex } from '../hex.ts'
import { seeded } from '../seeded.ts'

/** Words, and the account that they are the key of. */
export async function wordVectors() {
  const sources = [() => new Uint8Array(32), () => new Uint8Array(32).fill(255), seeded('words 1'), seeded('words 2')]
  const valid: { words: string; entropy: string; accountKey: string; account: string }[] = []
  for (const source of sources) {
    const words = newWords(source)
    const { publicKey } = await accountKeyFromWords(words)
    valid.push({
      words: words.show().join(' '),
      entropy: toHex(words.entropy().reveal()),
      accountKey: toHex(publicKey),
      account: toHex(accountIdOf(publicKey, sha256)),
    })
  }
  const [first = '', ...rest] = newWords(seeded('words 1')).show()
  const phrase = (...words: readonly string[]): string => words.join(' ')
  return {
    title: 'words, account keys and account ids',
    valid,
    forgiven: [
      { name: 'capitals', text: phrase(first, ...rest).toUpperCase() },
      { name: 'blanks and line ends', text: `\n  ${first}\t${rest.join(' \r\n ')}\u3000` },
      { name: 'letters of full width', text: phrase(...[first, ...rest].map(fullWidth)) },
    ].map((each) => ({ ...each, accountKey: valid[2]?.accountKey ?? '' })),
    refused: [
      { name: 'no words', text: '', reason: 'word-count' },
      { name: '23 words', text: phrase(...rest), reason: 'word-count' },
      { name: '25 words', text: phrase(first, first, ...rest), reason: 'word-count' },
      { name: 'a word of another list', text: phrase('abaisser', ...rest), reason: 'unknown-word' },
      { name: 'a word cut short', text: phrase(first.slice(0, 4), ...rest), reason: 'unknown-word' },
      {
        name: 'two words in each other’s place',
        text: phrase(...swapped([first, ...rest])),
        reason: 'words-do-not-fit',
      },
      {
        name: 'a wrong checksum',
        text: phrase(...Array.from({ length: 24 }, () => 'abandon')),
        reason: 'words-do-not-fit',
      },
    ],
  }
}

function fullWidth(word: string): string {
  return Array.from(word, (letter) => String.fromCodePoint((letter.codePointAt(0) ?? 0) + 0xfee0)).join('')
}

function swapped([one = '', other = '', ...rest]: readonly string[]): string[] {
  return [other, one, ...rest]
}
