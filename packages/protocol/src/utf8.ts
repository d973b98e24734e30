import { malformed } from './errors.ts'

/**
 * Walks strictly valid UTF-8 (RFC 3629): no over-long form, no surrogate, nothing above U+10FFFF. Returns how many code
 * points there are. Written here because this package uses the language only, and the language has no decoder.
 */
function walk(bytes: Uint8Array, visit?: (point: number) => void): number {
  let count = 0
  for (let i = 0; i < bytes.length; count++) {
    const first = bytes[i] as number
    if (first < 0x80) {
      visit?.(first)
      i += 1
      continue
    }
    const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
    if (first < 0xc2 || first > 0xf4 || i + length > bytes.length) throw malformed('not valid UTF-8')
    let point = first & (0x7f >> length)
    for (let k = 1; k < length; k++) {
      const next = bytes[i + k] as number
      if ((next & 0xc0) !== 0x80) throw malformed('not valid UTF-8')
      point = (point << 6) | (next & 0x3f)
    }
    const overlong = point < (length === 4 ? 0x10000 : length === 3 ? 0x800 : 0x80)
    if (overlong || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) throw malformed('not valid UTF-8')
    visit?.(point)
    i += length
  }
  return count
}

/** How many code points there are. Throws `malformed` for bytes that are not valid UTF-8. */
export function countCodePoints(bytes: Uint8Array): number {
  return walk(bytes)
}

/** Throws `malformed` for bytes that are not valid UTF-8. */
export function utf8Decode(bytes: Uint8Array): string {
  let text = ''
  walk(bytes, (point) => {
    text += String.fromCodePoint(point)
  })
  return text
}

/** Throws `malformed` for a lone surrogate, which UTF-8 cannot express. */
export function utf8Encode(text: string): Uint8Array {
  const bytes: number[] = []
  for (const character of text) {
    const point = character.codePointAt(0) as number
    if (point >= 0xd800 && point <= 0xdfff) throw malformed('a lone surrogate is not text')
    if (point < 0x80) bytes.push(point)
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f))
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f))
    else
      bytes.push(
        0xf0 | (point >> 18),
        0x80 | ((point >> 12) & 0x3f),
        0x80 | ((point >> 6) & 0x3f),
        0x80 | (point & 0x3f),
      )
  }
  return Uint8Array.from(bytes)
}
