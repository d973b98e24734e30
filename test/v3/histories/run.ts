/**
 * Many histories, one after the other: `node test/v3/histories/run.ts FIRST COUNT [KIND,KIND… [STEPS]]`. With VERBOSE set
 * it says what everybody does; the same seed, kinds and steps let the dice fall the same way, but threads and sockets
 * are as fast as they are.
 */
import { type Kind, kinds } from './doings.ts'
import { live } from './history.ts'

const [first = '1', count = '1', wanted = kinds.join(), steps = '60'] = process.argv.slice(2)
const unforeseen: string[] = []
process.on('unhandledRejection', (error) => unforeseen.push(error instanceof Error ? `${error.stack}` : String(error)))
const some = new Set<Kind>(kinds.filter((kind) => wanted.split(',').includes(kind)))
const tell = process.env.VERBOSE === undefined ? {} : { tell: (what: string) => console.log(`  ${what}`) }
let failed = 0
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const found = await live({ seed, steps: Number(steps), kinds: some, ...tell }).catch((error: unknown) => [
    error instanceof Error ? `${error.stack}` : String(error),
  ])
  const all = [...found, ...unforeseen.splice(0)]
  if (all.length > 0) failed += 1
  console.log([`seed ${seed}: ${all.length === 0 ? 'fine' : ''}`, ...all.map((each) => `✗ ${each}`)].join('\n'))
}
console.log(`${failed} of ${count} failed, with ${[...some]}`)
process.exit(failed === 0 ? 0 : 1)
