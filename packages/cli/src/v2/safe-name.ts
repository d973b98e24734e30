/** What some system gives a meaning inside a name, or cannot store, or does not show. */
const unsafe = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}/\\:*?"<>|%$`'&;~!#]/gu
/** A mark without a letter, or one more than any script piles up. */
const strayMarks = /^\p{M}+|(?<=\p{M}{3})\p{M}+/gu
const trailing = /[. _-]+$/
const blanks = /[\p{Zs}_]+/gu

/** Windows takes these for devices, whatever follows the first dot. */
const device = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?=$|[. ])/i

/**
 * A name for a received file out of what a peer wrote: one path segment that no system takes for anything else, of at
 * most `max` bytes, with the extension that we chose at its end.
 */
export function safeName(wish: string, ending: string, { max }: { max: number }): string {
  const clean = wish.normalize('NFC').replace(unsafe, '_').replace(strayMarks, '').replace(blanks, '_')
  const plain = clean.replace(/^[._\-\p{M}]+/u, '').replace(trailing, '') // what went may have carried a mark
  const cut = cutToBytes(plain.replace(device, '_$&'), max - Buffer.byteLength(ending)).replace(trailing, '')
  return `${cut === '' ? 'file' : cut}${ending}`
}

/** The name for the next try when `name` is taken: ` (2)` in front of the extension. */
export function numbered(name: string, count: number): string {
  if (count === 1) return name
  const dot = name.lastIndexOf('.')
  return `${name.slice(0, dot)} (${count})${name.slice(dot)}`
}

function cutToBytes(text: string, max: number): string {
  let bytes = 0
  let end = 0
  for (const character of text) {
    bytes += Buffer.byteLength(character)
    if (bytes > max) break
    end += character.length
  }
  return text.slice(0, end)
}
