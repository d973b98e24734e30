import { addAbortSignal, type Readable } from 'node:stream'
import { Failure } from './failure.ts'

/** What a command allows as its text, and what to say where something else came. */
export interface TextRules {
  readonly bytesMax: number
  /** How the command is written. */
  readonly usage: string
  /** What to do with a text that is too long, or with what is no text. */
  readonly instead: string
  readonly signal?: AbortSignal | undefined
}

/** The text of a command: its arguments, or for `-` and through a pipe all of standard input. */
export async function textOf(words: readonly string[], rules: TextRules): Promise<string> {
  const given = words.join(' ')
  const isPiped = given === '-' || (words.length === 0 && !process.stdin.isTTY)
  const text = isPiped ? await textFrom(process.stdin, rules) : argument(given, rules)
  if (text !== '') return text
  throw new Failure('usage', {
    what: 'there is no text: nothing was sent',
    advice: `${rules.usage}, or pass one through a pipe; - for whatever the pipe has`,
  })
}

/** A text that comes through a pipe. One line break at its end belongs to the pipe. */
async function textFrom(input: Readable, { bytesMax, instead, signal }: TextRules): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  const source: AsyncIterable<Uint8Array> = signal === undefined ? input : addAbortSignal(signal, input)
  for await (const chunk of source) {
    bytes += chunk.length
    chunks.push(chunk)
    if (bytes > bytesMax + 2) throw tooLong(bytesMax, instead)
  }
  const text = decoded(Buffer.concat(chunks), instead).replace(/\r?\n$/, '')
  if (Buffer.byteLength(text) > bytesMax) throw tooLong(bytesMax, instead)
  return text
}

function argument(text: string, { bytesMax, instead }: TextRules): string {
  // this is how Node shows bytes that it could not decode
  if (text.includes('\ufffd'))
    throw new Failure('bad-text', {
      what: 'the text is not UTF-8',
      advice: 'check the locale, or pass it through a pipe',
    })
  if (Buffer.byteLength(text) > bytesMax) throw tooLong(bytesMax, instead)
  return text
}

function decoded(bytes: Uint8Array, instead: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new Failure('bad-text', {
      what: 'what came through the pipe is not a text in UTF-8',
      advice: `convert it (iconv), or ${instead}`,
      cause,
    })
  }
}

function tooLong(bytesMax: number, instead: string): Failure {
  return new Failure('too-large', { what: `the text has more than ${bytesMax} bytes`, advice: instead })
}
