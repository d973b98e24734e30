/** Runs every test file, or those whose path contains one of the arguments. Fails when there is none to run. */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const wanted = process.argv.slice(2)
const files = globSync(['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'])
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort()
if (files.length === 0) {
  console.error(`no test file${wanted.length > 0 ? ` matches ${wanted.join(', ')}` : ' was found'}`)
  process.exit(1)
}
// two at a time: many tests wait, and the runner's default on two cores is one
const options = ['--test', '--test-concurrency=2', '--test-timeout=240000']
const { status, signal } = spawnSync(process.execPath, [...options, ...files], { stdio: 'inherit' })
process.exit(signal === null ? (status ?? 1) : 1)
