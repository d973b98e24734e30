/**
 * Characters that move the cursor, colour, hide, reorder or join what a terminal shows, or that show nothing at all:
 * controls, escape sequences, bidi marks, zero-width and tag characters, line separators, half surrogate pairs. The
 * two selectors that only choose between text and emoji stay.
 */
const invisible = String.raw`[[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--[\u{fe0e}\u{fe0f}]]`

/** A mark at the start would sit on our own text; a pile of them runs into other lines. */
const strayMark = String.raw`^\p{M}|(?<=\p{M}{5})\p{M}`

/** Needs none of these, which take a millisecond to make. */
const plain = /^[ -~]*$/

let unsafe: RegExp | undefined

/** What a peer wrote, fit for one line of a terminal: everything that could act on it is spelled out, `\u{1b}`. */
export function printable(text: string, { max = 4096 }: { max?: number } = {}): string {
  const shown = text.slice(0, max)
  const more = text.length - shown.length
  const escaped = plain.test(shown) ? shown : spelledOut(shown)
  return more > 0 ? `${escaped}… (${more} more)` : escaped
}

function spelledOut(text: string): string {
  unsafe ??= new RegExp(`${invisible}|${strayMark}`, 'gv')
  return text.replace(unsafe, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}

/** A text of several lines. Every line but the first is indented, so that none can pass for a line of ours. */
export function printableText(text: string, indent = '  '): string {
  const lines = text.split(/\r?\n/)
  return lines.map((line) => printable(line.replaceAll('\t', '    '), { max: Infinity })).join(`\n${indent}`)
}

let unsafeInJson: RegExp | undefined

/** One event as a line of JSON: exact for a program, harmless for a terminal. */
export function jsonLine(event: Readonly<Record<string, unknown>>): string {
  const line = JSON.stringify({ v: 1, ...event })
  if (plain.test(line)) return `${line}\n`
  unsafeInJson ??= new RegExp(invisible, 'gv')
  const escaped = line.replace(unsafeInJson, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
  return `${escaped}\n`
}
