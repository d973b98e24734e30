/**
 * Prints each figure as a ratio to a limit that is measured in the same run, in alternating pairs.
 * `npm run bench -- [--json] [--only PREFIX]`
 */
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { e2eeFigures } from './e2ee.ts'
import { fileFigures } from './files.ts'
import type { Figure } from './measure.ts'
import { messagingGroups } from './messaging.ts'
import { storageFigures } from './storage.ts'
import { version2Groups } from './version2.ts'
import { version3Groups } from './version3.ts'

const groups = {
  storage: storageFigures,
  ...version2Groups,
  ...version3Groups,
  e2ee: e2eeFigures,
  ...messagingGroups,
  files: fileFigures,
}
const usage = `npm run bench -- [--json] [--only PREFIX]
  --json         a line of JSON for each figure
  --only PREFIX  those whose names begin with it, such as ${Object.keys(groups).join(', ')}`
const values = wanted()

mkdirSync('dist', { recursive: true })
let reached = 0
let missed = 0
for (const [group, figures] of Object.entries(groups)) {
  if (!values.only.startsWith(group) && !group.startsWith(values.only)) continue
  for await (const figure of figures()) if (figure.name.startsWith(values.only)) print(figure)
}
if (!values.json) console.log(`${reached} goals reached, ${missed} missed`)

/** What the command line asks for. Whoever asks for help, or for something that is not there, is told what there is. */
function wanted(): { readonly json: boolean; readonly only: string } {
  try {
    const { values } = parseArgs({
      options: {
        help: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        only: { type: 'string', default: '' },
      },
    })
    if (!values.help) return values
    console.log(usage)
    process.exit(0)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error // parseArgs throws these for what it does not know
    console.error(`${error.message}\n\n${usage}`)
    process.exit(2)
  }
}

function print(figure: Figure): void {
  const { name, value, unit, goal, better, beside } = figure
  const good = better === 'higher' ? value >= goal : value <= goal
  if (good) reached += 1
  else missed += 1
  if (values.json) {
    console.log(JSON.stringify({ v: 1, event: 'figure', name, value, unit, goal, better, beside }))
    return
  }
  const details = Object.entries(beside).map(([key, each]) => `${key} ${each}`)
  console.log(
    `${good ? 'ok  ' : 'MISS'} ${name.padEnd(32)} ${String(value).padStart(7)}  (goal ${better === 'higher' ? '≥' : '≤'} ${goal})  ${unit}`,
  )
  if (details.length > 0) console.log(`     ${details.join(', ')}`)
}
