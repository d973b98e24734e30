import { renderUnicodeCompact } from 'uqr'
import type { Output } from './output.ts'

/** A code for a camera, between empty lines; nothing where there is no terminal that shows it. */
export function qrCode({ out }: Pick<Output, 'out'>, content: Uint8Array | string): string {
  if (!('isTTY' in out && out.isTTY === true)) return ''
  return `\n${renderUnicodeCompact(typeof content === 'string' ? content : [...content])}\n`
}
