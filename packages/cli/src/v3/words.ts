import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import { addAbortSignal } from 'node:stream'
import { newWords, parseWords, type RandomBytes, type RecoveryWords } from '@messageu/e2ee'
import { Failure } from '../failure.ts'
import { makeFolder, readOwn, startDraft } from '../private-files.ts'

/** Far more than 24 words and blanks between them. */
const wordsBytesMax = 4096

/** The words of a new account, and where they are kept for their owner. */
export interface KeptWords {
  readonly words: RecoveryWords
  /** The file that holds them; without one they were shown. */
  readonly file: string | undefined
}

/**
 * The words for a new account. With a file they are in it: those that it holds already, or new ones, durable before they
 * are used. Without one they are shown, and used once somebody says that they are written down.
 */
export async function wordsForNewAccount(
  file: string | undefined,
  random: RandomBytes,
  { signal }: { signal: AbortSignal },
): Promise<KeptWords> {
  if (file !== undefined) return { words: (await wordsIn(file)) ?? (await writeNewWords(file, random)), file }
  const words = newWords(random)
  process.stdout.write(
    `These 24 words are the account. Whoever has them is you; nobody can give them back to you.\n\n${table(words)}\n`,
  )
  using console = createInterface({ input: process.stdin, output: process.stdout })
  try {
    await console.question('Write them down, then press Enter. ', { signal })
  } catch (error) {
    process.stdout.write('\n') // what comes next is no part of the question
    throw error
  }
  return { words, file }
}

/** The words of an account that there is: from a file, from a pipe, or typed without being shown. */
export async function wordsOfAccount(
  file: string | undefined,
  { signal }: { signal: AbortSignal },
): Promise<RecoveryWords> {
  if (file !== undefined) {
    const words = await wordsIn(file)
    if (words !== undefined) return words
    throw new Failure('no-such-file', { what: `there is no ${file}`, advice: 'the file that holds the 24 words' })
  }
  return wordsFrom(process.stdin.isTTY ? await typed({ signal }) : await piped({ signal }))
}

async function wordsIn(file: string): Promise<RecoveryWords | undefined> {
  const found = await readOwn(file, { max: wordsBytesMax })
  if (found === undefined) return undefined
  if (found.exposed)
    throw new Failure('insecure-file', {
      what: `others may read ${file}`,
      why: 'whoever reads the words has the account',
      advice: `chmod 600 ${file}`,
    })
  return wordsFrom(new TextDecoder().decode(found.bytes))
}

function wordsFrom(text: string): RecoveryWords {
  if (text.trim() === '') throw notWords('there are no words')
  return parseWords(text)
}

async function writeNewWords(file: string, random: RandomBytes): Promise<RecoveryWords> {
  const words = newWords(random)
  await makeFolder(path.dirname(path.resolve(file)))
  await using draft = await startDraft(file)
  if (!(await draft.create(Buffer.from(`${words.show().join(' ')}\n`))))
    throw new Failure('in-use', {
      what: `${file} was made by somebody else just now`,
      advice: 'the same command again',
    })
  return words
}

function table(words: RecoveryWords): string {
  const cells = words.show().map((word, i) => `${String(i + 1).padStart(2)} ${word.padEnd(10)}`)
  const rows = Array.from(
    { length: 6 },
    (_, row) => `  ${[0, 6, 12, 18].map((column) => cells[row + column]).join('')}`,
  )
  return `${rows.join('\n')}\n`
}

async function piped({ signal }: { signal: AbortSignal }): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of addAbortSignal(signal, process.stdin) as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > wordsBytesMax) throw notWords(`more than ${wordsBytesMax} bytes came through the pipe`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function notWords(what: string): Failure {
  return new Failure('bad-words', { what, advice: 'the 24 words and nothing else, or --words-file FILE' })
}

/** One line that the terminal does not show. */
async function typed({ signal }: { signal: AbortSignal }): Promise<string> {
  // before the question: from now on the terminal shows nothing, and keys are ours
  using silent = createInterface({ input: process.stdin, terminal: true })
  process.stderr.write('The 24 words (they are not shown): ')
  try {
    return await silent.question('', { signal })
  } finally {
    process.stderr.write('\n')
  }
}
