import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'

const bench = path.join(import.meta.dirname, '..', 'bench/main.ts')
const ask = (...args: string[]) => spawnSync(process.execPath, [bench, ...args], { encoding: 'utf8' })

test('the bench tells what it takes, if it is asked or asked for something else', () => {
  const help = ask('--help')
  assert.deepEqual([help.status, help.stderr], [0, ''])
  assert.match(help.stdout, /^npm run bench -- \[--json\] \[--only PREFIX\]\n[\s\S]*\bstorage, /)
  const unknown = ask('--onyl', 'x')
  assert.deepEqual([unknown.status, unknown.stdout], [2, ''])
  assert.match(unknown.stderr, /'--onyl'[\s\S]*npm run bench -- /)
  assert.doesNotMatch(unknown.stderr, /\n +at /)
})
