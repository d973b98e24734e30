/** Code points that act on a terminal, or hide in it: from, to. The line break is ours. */
const ranges: readonly (readonly [number, number])[] = [
  [0x00, 0x09],
  [0x0b, 0x1f],
  [0x7f, 0x9f],
  [0xad, 0xad],
  [0x61c, 0x61c],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2060, 0x206f],
  [0xd800, 0xdfff],
  [0xfeff, 0xfeff],
  [0xe0000, 0xe007f],
]

/** What in a text must never reach a terminal. */
export function actingIn(text: string): string[] {
  return [...text]
    .map((character) => character.codePointAt(0) ?? 0)
    .filter((point) => ranges.some(([from, to]) => point >= from && point <= to))
    .map((point) => `U+${point.toString(16)}`)
}
