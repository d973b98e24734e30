/** Makes the files in `vectors`; run as a program, writes them. */
import { certificateVectors } from './certificates.ts'
import { listVectors } from './lists.ts'
import { safetyVectors } from './safetynumbers.ts'
import { sessionVectors } from './sessions.ts'
import { wordVectors } from './words.ts'

export const makers = {
  words: wordVectors,
  certificates: certificateVectors,
  lists: listVectors,
  'safety-numbers': safetyVectors,
  sessions: sessionVectors,
} as const

export function format(vectors: object): string {
  return `${JSON.stringify(vectors, null, 2)}\n`
}

if (import.meta.main) {
  const { writeFileSync } = await import('node:fs')
  for (const [name, make] of Object.entries(makers))
    writeFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), format(await make()))
}
