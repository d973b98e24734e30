import assert from 'node:assert/strict'
import { type Ended, events, messageu } from '../../packages/cli/test/v2/world.ts'
import type { temporaryFolder } from '../serverProcess.ts'

type Folder = Awaited<ReturnType<typeof temporaryFolder>>

/** `messageu` as a script runs it, with the profiles of one test. */
export function shell(folder: Folder, link: string) {
  const { MESSAGEU_PROFILE: _, ...plain } = process.env
  const env = { ...plain, MESSAGEU_SERVER: link, MESSAGEU_DATA_DIR: folder.of('profiles') }
  return (args: readonly string[], input: string | Buffer = '') => messageu(args, input, { env })
}

export function first(ended: Ended): Record<string, unknown> {
  return events(ended)[0] ?? assert.fail(`nothing was told: ${ended.err}`)
}
