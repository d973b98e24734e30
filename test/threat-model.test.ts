import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const fault = /\b(?:[CDGKLNPSUWX]\d{2}|I\d{1,2})\b/g

test('docs/threat-model.md names no fault that no test names', () => {
  const [claims = '', open] = readFileSync(`${root}/docs/threat-model.md`, 'utf8').split('\n## Open\n')
  assert.ok(open !== undefined)
  const claimed = new Set(claims.match(fault))
  assert.ok(claimed.size > 40)
  const files = globSync(['test/**/*.test.ts', 'packages/*/test/**/*.test.ts'], { cwd: root })
  const names = files.flatMap((file) => namesIn(readFileSync(`${root}/${file}`, 'utf8')))
  const tested = new Set(names.flatMap((name) => name.match(fault) ?? []))
  assert.deepEqual(
    [...claimed].filter((id) => !tested.has(id)),
    [],
  )
})

/** The names of tests and suites. */
function namesIn(source: string): readonly string[] {
  return [...source.matchAll(/\b(?:test|describe|suite)\(\s*(['"`])(.*?)\1,/g)].map(([, , name = '']) => name)
}
