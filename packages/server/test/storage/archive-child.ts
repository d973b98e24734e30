/** Works on an archive until it is killed, and says of each step that it was told. */
import type { ObjectChange } from '../../src/archive.ts'
import { openSqliteIn } from '../world.ts'
import { allOf, box, sent, text } from './archiveworld.ts'
import { randomFrom, tell } from './world.ts'

/** The step with the message of this number is durable. */
export interface ArchiveEvent {
  readonly lane: number
  readonly number: number
}

const lanes = 6
const stepsAtOnce = 3
const [folder, seed] = process.argv.slice(2) as [string, string]
const random = randomFrom(Number(seed))
const { archive } = await openSqliteIn(folder)

const counter = (lane: number, name: string, value: number): ObjectChange => ({
  kind: 'account',
  key: text(`${lane} ${name}`),
  value: text(String(value)),
})

async function run(lane: number): Promise<void> {
  let { highest } = await archive.sends(lane + 1)
  const waiting = allOf(archive.reader(box(lane), 0))
  const read = await archive.read(waiting)
  /** By position, the numbers of the messages that wait. */
  const numbers = new Map(
    read.map((each, i) => [waiting[i]?.position, Number.parseInt(Buffer.from(each?.content ?? '').toString(), 10)]),
  )

  const step = async (mayTrim: boolean): Promise<void> => {
    const number = ++highest
    const padding = ' '.repeat(1 + (random.below(30) === 0 ? 65_536 + random.below(100_000) : random.below(500)))
    const [through, trimmed] = (mayTrim && random.below(6) === 0 && random.pick([...numbers])) || []
    const objects = [counter(lane, 'count', number)]
    if (trimmed !== undefined) objects.push(counter(lane, 'trimmed', trimmed))
    const { positions } = await archive.step({
      objects,
      messages: [sent(box(lane), lane + 1, number, `${number}${padding}`)],
      trims: through === undefined ? [] : [{ box: box(lane), through }],
      acknowledged: { device: lane + 1, through: number },
    })
    for (const position of numbers.keys())
      if (position !== undefined && position <= (through ?? 0)) numbers.delete(position)
    numbers.set(positions[0], number)
    tell({ lane, number } satisfies ArchiveEvent)
  }
  // one trims at a time: it decides on what is durable
  for (;;) await Promise.all(Array.from({ length: stepsAtOnce }, (_, i) => step(i === 0)))
}
await Promise.all(Array.from({ length: lanes }, (_, lane) => run(lane)))
