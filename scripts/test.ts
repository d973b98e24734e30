/** Runs every test file, or those whose path contains one of the arguments. Fails when there is none to run. */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { writeProgram } from './program.ts'

const memory = '/dev/shm'
const memoryBytesMin = 4 * 2 ** 30

const wanted = process.argv.slice(2)
const files = globSync(['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'])
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort()
if (files.length === 0) {
  console.error(`no test file${wanted.length > 0 ? ` matches ${wanted.join(', ')}` : ' was found'}`)
  process.exit(1)
}

const cache = path.join(import.meta.dirname, '../node_modules/.cache/messageu-test')
const environment = {
  ...process.env,
  // what one file has compiled the others find, with the threads and processes that they start
  NODE_COMPILE_CACHE: cache,
  TEST_PROGRAM: await writeProgram(path.join(cache, 'program')),
  // syncs of a disk that others write to as well take most of the time of many tests
  TMPDIR: hasRoom(memory) ? memory : tmpdir(),
  TEST_DISK: tmpdir(),
}
const untracked = pathToFileURL(path.join(import.meta.dirname, 'untracked.ts')).href
// three at a time on two cores: many tests wait
const options = ['--import', untracked, '--test', '--test-concurrency=3', '--test-timeout=240000']
const { status, signal } = spawnSync(process.execPath, [...options, ...files], { stdio: 'inherit', env: environment })
process.exit(signal === null ? (status ?? 1) : 1)

function hasRoom(folder: string): boolean {
  if (!existsSync(folder)) return false
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize >= memoryBytesMin
}
