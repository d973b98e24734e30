import assert from 'node:assert/strict'
import { test } from 'node:test'
import { run } from './serverProcess.ts'

test('the demo shows each side what it claims', async () => {
  const { exit, out, err } = await run(['demo'], { limitMs: 90_000 })
  assert.equal(exit.code, 0, err)
  const seen = (side: string): string =>
    out
      .split('\n')
      .filter((line) => line.startsWith(`${side.padStart(12)} │ `))
      .join('\n')
  for (const side of ['bob', 'bob/phone']) assert.match(seen(side), /│ alice → me {2}Meet me where the river bends\.$/m)
  assert.match(seen('alice/phone'), /│ me → bob {2}Meet me where the river bends\.$/m)
  assert.match(out, /^The text in the server's folder: not found\.$/m)

  const [hers, his] = ['alice', 'bob'].map((side) => /│ ((?:\d{5} ?){12})$/m.exec(seen(side))?.[1])
  assert(hers !== undefined && hers === his, 'safety numbers match')
  assert.match(out, /^The numbers match/m)

  assert.match(seen('bob/phone'), /│ alice → #river {2}Who brings the map\?$/m)
  assert.match(seen('bob'), /│ alice → #river {2}The map is under the third stone\.$/m)
  assert.doesNotMatch(seen('bob/phone'), /third stone/)
  assert.match(seen('bob/phone'), /reads nothing/)

  for (const side of ['alice', 'alice/phone', 'bob'])
    assert.match(seen(side), /#river: a change cannot be applied here/)
  assert.match(seen('bob'), /│ alice → #river {2}We are back\.$/m)
  assert.match(seen('alice/phone'), /│ me → #river {2}We are back\.$/m)

  assert.match(out, /^The text in the server's database: not found\.$/m)
  assert.match(seen('bob'), /Meet me where the river bends\. Bring the map\.$/m)
})
