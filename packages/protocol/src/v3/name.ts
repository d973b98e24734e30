import type { Brand } from '../codec.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from './limits.ts'

/** The name of an account: NFC, one writing system, letters, digits and single marks between them. §4.2 */
export type AccountName = string & Brand<'AccountName'>

/** Letters with the marks that belong to them, digits 0 to 9, and single separators between them. */
const shape = /^(?:\p{L}\p{M}{0,3}|[0-9])(?:[-._ ']?(?:\p{L}\p{M}{0,3}|[0-9]))*$/u

/** The same with plain letters only: such a name needs none of the expressions that take a millisecond to make. */
const plainShape = /^[A-Za-z0-9](?:[-._ ']?[A-Za-z0-9])*$/

/** What cannot be seen, and letters that are only ever taken for something else: modifiers, the Arabic stretcher. */
const hidden = /[\p{Default_Ignorable_Code_Point}\u02b0-\u02ff\u0640]/u

/** Without the phonetic and historical letters, which look like plain ones and which no name is written in. */
const latin =
  'A-Za-z\\u00c0-\\u01bf\\u01c4-\\u024f\\u0253\\u0254\\u0256\\u0257\\u0259\\u025b\\u0260\\u0263\\u0268\\u0269\\u0272\\u0289-\\u028b\\u1e00-\\u1eff'
const alphabets = [latin, '\\u0386-\\u03ce\\u1f00-\\u1fff', '\\u0400-\\u045f\\u048a-\\u052f']

/** The scripts in common use (UAX 31, table 5), as they are written together. */
// biome-ignore format: one writing system each
const scripts = [
  ['Arabic'], ['Armenian'], ['Bengali'], ['Devanagari'], ['Ethiopic'], ['Georgian'], ['Gujarati'], ['Gurmukhi'],
  ['Han', 'Bopomofo'], ['Han', 'Hangul'], ['Han', 'Hiragana', 'Katakana'], ['Hebrew'], ['Kannada'], ['Khmer'], ['Lao'],
  ['Malayalam'], ['Myanmar'], ['Oriya'], ['Sinhala'], ['Tamil'], ['Telugu'], ['Thaana'], ['Thai'], ['Tibetan'],
].map((together) => together.map((script) => `\\p{Script_Extensions=${script}}`).join(''))

/** Each expression is made when a name has come as far as it: all of them take longer than a short program has. */
const writingSystems = [...alphabets, ...scripts].map((letters) => {
  let system: RegExp | undefined
  return (text: string): boolean => {
    system ??= new RegExp(`^[${letters}\\p{Script=Inherited}0-9\\-._ ']*$`, 'u')
    return system.test(text)
  }
})

/** Marks without which a letter is read as the same one. In other scripts a mark is a sound of its own. */
const accents = /[[\p{Script=Inherited}\p{Script=Hebrew}\p{Script=Arabic}]&&\p{M}]/gv

/** Letters and digits that are taken for others, as the one they are taken for. Applied to folded, bare letters. */
const twins: ReadonlyMap<string, string> = new Map(
  [
    ['a', 'аα'],
    ['b', 'ьвƀƃƅɓ'],
    ['c', 'сҫƈ'],
    ['d', 'ԁđƌɗɖð'],
    ['e', 'еҽ'],
    ['f', 'ƒ'],
    ['g', 'ցǥɠ'],
    ['h', 'һհнңћђħ'],
    ['i', 'іıιɩɨ1lłƚӏլןוا'],
    ['j', 'јյɉȷ'],
    ['k', 'кκқҝҟҡƙ'],
    ['m', 'м'],
    ['n', 'ոηпŋɲƞ'],
    ['o', 'оοօ0σςөøഠဝסه'],
    ['p', 'рρƥƿ'],
    ['q', 'ԛզɋ'],
    ['r', 'гғɍ'],
    ['s', 'ѕƨ5'],
    ['t', 'тτŧƭ'],
    ['u', 'υսцʉ'],
    ['v', 'νʋ'],
    ['w', 'ԝωшщա'],
    ['x', 'хχҳ'],
    ['y', 'уγүұƴɏ'],
    ['z', '2ƶȥ'],
    ['3', 'з'],
    ['6', 'б'],
    ['ə', 'әǝ'],
    ['ي', 'یى'],
    ['ك', 'ک'],
    ['へ', 'ヘ'],
    ['り', 'リ'],
    ['力', 'カ'],
    ['口', 'ロ'],
    ['二', 'ニ'],
    ['工', 'エ'],
    ['夕', 'タ'],
    ['卜', 'ト'],
    ['八', 'ハ'],
    ['一', 'ー'],
  ].flatMap(([plain = '', others = '']) => [...others].map((other) => [other, plain] as const)),
)

/** The name that `text` is, or `bad-name`. */
export function accountName(text: string): AccountName {
  // no character is longer than two units: what is longer than this is not looked at
  const characters = text.length > 2 * limits.nameCharactersMax ? Number.POSITIVE_INFINITY : [...text].length
  if (characters < limits.nameCharactersMin || characters > limits.nameCharactersMax)
    throw badName(`a name has ${limits.nameCharactersMin} to ${limits.nameCharactersMax} characters`)
  if (plainShape.test(text)) return text as AccountName // the ASCII letters are of one script, and written in one way
  if (text.normalize('NFC') !== text) throw badName('a name is written in normalisation form C')
  if (!shape.test(text)) throw badName("a name is letters and digits, with single - . _ ' or blanks between them")
  if (hidden.test(text)) throw badName('a name has no letters that cannot be seen')
  if (!writingSystems.some((isIn) => isIn(text))) throw badName('a name keeps to one script in common use')
  return text as AccountName // the only cast to AccountName
}

/**
 * What two names have in common that look alike: the second is refused. Case, width, accents and separators do not
 * tell people apart, nor do letters that look the same. §4.2
 */
export function skeletonOf(name: AccountName): string {
  const folded = name
    .normalize('NFKD')
    .replace(accents, '')
    .replace(/[-._ ']/g, '')
    .toLowerCase()
    .toUpperCase() // ß is SS, and the capital ẞ as well
    .toLowerCase()
  const plain = Array.from(folded, (letter) => twins.get(letter) ?? letter).join('')
  // an l has become an i by now
  return plain.replaceAll('rn', 'm').replaceAll('vv', 'w').replaceAll('ci', 'd')
}

function badName(what: string): ProtocolError {
  return new ProtocolError('bad-name', what)
}
