import type { Brand } from '../codec.ts'
import { ProtocolError } from '../errors.ts'
import { countCodePoints, utf8Encode } from '../utf8.ts'
import { limits } from './limits.ts'

/** The name of an account: NFC, one script, letters, digits and a few marks between them. §4.2 */
export type AccountName = string & Brand<'AccountName'>

/** Letters of any script with the marks that belong to them, digits, and single separators between them. */
const shape = /^[\p{L}\p{Nd}]\p{M}{0,3}(?:[-._ ']?[\p{L}\p{Nd}]\p{M}{0,3})*$/u

/** Scripts whose letters look like those of another one: a name may use one of them only. */
const scripts = ['Latin', 'Cyrillic', 'Greek', 'Armenian', 'Cherokee', 'Coptic', 'Georgian', 'Lisu', 'Deseret'].map(
  (script) => new RegExp(`\\p{Script=${script}}`, 'u'),
)

/** Letters and digits that are taken for others, as the one they are taken for. Applied after case folding. */
const twins: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ['a', 'аɑα'],
    ['b', 'ьв'],
    ['c', 'сϲ'],
    ['d', 'ԁ'],
    ['e', 'еєҽ'],
    ['g', 'ɡց'],
    ['h', 'һհн'],
    ['i', 'іıιɩ1l|ӏ'],
    ['j', 'јϳ'],
    ['k', 'кκ'],
    ['m', 'м'],
    ['n', 'ոηп'],
    ['o', 'оοօ0σ'],
    ['p', 'рρ'],
    ['q', 'ԛզ'],
    ['r', 'г'],
    ['s', 'ѕ5'],
    ['t', 'тτ'],
    ['u', 'υսц'],
    ['v', 'ѵνʋ'],
    ['w', 'ԝωшщ'],
    ['x', 'хχ'],
    ['y', 'уγү'],
    ['z', 'ᴢ2'],
  ].flatMap(([plain = '', others = '']) => [...others].map((other) => [other, plain])),
)

/** The name that `text` is, or `bad-name`. */
export function accountName(text: string): AccountName {
  const characters = countCodePoints(utf8Encode(text))
  if (characters === undefined || characters < limits.nameCharactersMin || characters > limits.nameCharactersMax)
    throw badName(`a name has ${limits.nameCharactersMin} to ${limits.nameCharactersMax} characters`)
  if (text.normalize('NFC') !== text) throw badName('a name is written in normalisation form C')
  if (!shape.test(text)) throw badName("a name is letters and digits, with single - . _ ' or blanks between them")
  if (scripts.filter((script) => script.test(text)).length > 1) throw badName('a name keeps to one script')
  return text as AccountName // the only cast to AccountName
}

/**
 * What two names have in common that look alike: the second is refused. Case, width, accents and separators do not
 * tell people apart, nor do letters that look the same. §4.2
 */
export function skeletonOf(name: AccountName): string {
  const folded = name
    .normalize('NFKD')
    .replace(/[\p{M}\-._ ']/gu, '')
    .toLowerCase()
  const plain = [...folded].map((letter) => twins[letter] ?? letter).join('')
  return plain.replaceAll('rn', 'm').replaceAll('vv', 'w').replaceAll('cl', 'd')
}

function badName(what: string): ProtocolError {
  return new ProtocolError('bad-name', what)
}
