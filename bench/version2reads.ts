/** What a list and a fetch cost, also with a million messages that wait for others. */
import { encodeRequest } from '@messageu/protocol/v2'
import { Child } from './children.ts'
import { benchFolder, type Figure, median, pairs, rounded } from './measure.ts'
import { type Bare, base64, idOf, type Load, type Server } from './parties.ts'

const pairCount = 6
const million = 1_000_000
const listed = 10_000
const fetched = 1000
const bodyBytes = 300
const timesEach = 60
const warmUps = 6

/** Who is asked, and by whom. */
interface Asked {
  readonly port: number
  readonly request: string
  /** Undefined for the bare server, which always answers the same. */
  readonly server: Server | undefined
}

interface Read {
  readonly kind: 'list' | 'fetch'
  readonly answerBytes: number
  /** Milliseconds. */
  time(load: Load, asked: Asked): Promise<number>
  readonly figure: { readonly name: string; readonly unit: string; readonly goal: number }
  readonly name: string
}

export const list: Read = {
  kind: 'list',
  answerBytes: 7 + (listed - 1) * 271,
  async time(load, { port, request }) {
    return 1000 / (await load.ask('requests', { port, request, count: timesEach, concurrency: 1 })).rate
  },
  name: 'v2.list-10k',
  figure: { name: 'v2.list-10k', unit: 'time of a list of 10 000 clients ÷ the same bytes from memory', goal: 2 },
}

export const fetch: Read = {
  kind: 'fetch',
  answerBytes: 7 + fetched * (25 + bodyBytes),
  async time(load, { port, request, server }) {
    const times: number[] = []
    for (let i = 0; i < timesEach; i++) {
      await server?.ask('fill', { count: fetched, from: 0, to: 1, bytes: bodyBytes })
      times.push((await load.ask('requests', { port, request, count: 1, concurrency: 1 })).p50)
    }
    return median(times)
  },
  name: 'v2.fetch-1000',
  figure: {
    name: 'v2.fetch-1000-young',
    unit: 'time of a fetch of 1000 young messages ÷ the same bytes from memory',
    goal: 3,
  },
}

export async function* readFigures({ kind, answerBytes, time, name, figure }: Read): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  await using fullFolder = await benchFolder()
  await using server: Server = new Child('./server-child.ts')
  await using full: Server = new Child('./server-child.ts')
  await using bareServer: Bare = new Child('./bare-child.ts')
  await using load: Load = new Child('./load-child.ts')
  const open = async (of: Server, at: string): Promise<Asked> => {
    const port = await of.ask('open', at)
    const [asker = ''] = await of.ask('register', listed)
    return { port, request: base64(encodeRequest({ kind, asker: idOf(asker) })), server: of }
  }
  const empty = await open(server, folder.path)
  const withMillion = await open(full, fullFolder.path)
  await full.ask('fill', { count: million, from: 1, to: listed, bytes: bodyBytes })
  await full.ask('settle', fullFolder.path)
  const barePort = await bareServer.ask('answer', { requestBytes: 22, answerBytes })
  const bare = { port: barePort, request: empty.request, server: undefined }

  const first = await pairs(
    pairCount,
    () => time(load, empty),
    () => time(load, bare),
  )
  yield {
    ...figure,
    value: rounded(first.ratio),
    better: 'lower',
    beside: { ms: first.ours, bareMs: first.limit, spread: first.spread },
  }

  for (let i = 0; i < warmUps; i++) await time(load, withMillion) // as often as the other was asked before
  const second = await pairs(
    pairCount,
    () => time(load, withMillion),
    () => time(load, empty),
  )
  yield {
    name: `${name}-with-1M-waiting`,
    value: rounded(second.ratio),
    unit: `time of a ${kind} with 1 M messages waiting for others ÷ with none`,
    goal: 1.1,
    better: 'lower',
    beside: { ms: second.ours, emptyMs: second.limit, spread: second.spread },
  }
}
