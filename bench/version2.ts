import { type ClientId, encodeRequest, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { Child } from './children.ts'
import { benchFolder, type Figure, fdatasyncMs, median, pairs, rounded } from './measure.ts'
import { type Bare, base64, idOf, type Load, type Server } from './parties.ts'

const pairCount = 6
const requestCount = 6000
const connections = 64
const bodyBytes = 300

function sendRequest(sender: string, recipient: string, bytes: number): Buffer {
  const addressed = { recipient: idOf(recipient), type: 'text', contentBytes: bytes } as const
  return Buffer.concat([encodeRequest({ kind: 'send', asker: idOf(sender), addressed }), Buffer.alloc(bytes, 7)])
}

/** A registration whose name has ten digits at `registerCounterAt`. */
function registerRequest(): Buffer {
  const publicKey = Buffer.alloc(160, 9) as Uint8Array as PublicKey
  const asker = Buffer.alloc(16) as Uint8Array as ClientId
  return Buffer.from(
    encodeRequest({ kind: 'register', asker, registration: { name: nameFromText('n0000000000'), publicKey } }),
  )
}
const registerCounterAt = registerRequest().indexOf('n0000000000') + 1

/** Version 2 over TCP, one connection a request. */
export async function* version2Figures(): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  await using server: Server = new Child('./server-child.ts')
  await using bare: Bare = new Child('./bare-child.ts')
  await using load: Load = new Child('./load-child.ts')
  const port = await server.ask('open', folder.path)
  const [alice = '', bob = ''] = await server.ask('register', 2)

  const send = sendRequest(alice, bob, bodyBytes)
  yield* perRequest('v2.send', server, bare, load, port, { request: send, answerBytes: 27 }, folder.path)
  const register = { request: registerRequest(), answerBytes: 23, counterAt: registerCounterAt }
  yield* perRequest('v2.register', server, bare, load, port, register, folder.path)
  await server.ask('close', undefined)
  yield* readFigures()
}

interface Kind {
  readonly request: Buffer
  readonly answerBytes: number
  readonly counterAt?: number
}

async function* perRequest(
  name: string,
  server: Server,
  bare: Bare,
  load: Load,
  port: number,
  { request, answerBytes, counterAt }: Kind,
  folder: string,
): AsyncGenerator<Figure> {
  const barePort = await bare.ask('answer', { requestBytes: request.length, answerBytes })
  const shape = {
    request: base64(request),
    count: requestCount,
    concurrency: connections,
    ...(counterAt === undefined ? {} : { counterAt }),
  }
  let cpuUs = 0
  let bareCpuUs = 0
  let requests = 0
  const delays: number[] = []
  const bareDelays: number[] = []
  const ours = async (): Promise<number> => {
    await server.ask('loopDelay', undefined)
    const before = server.cpuUs()
    const { rate } = await load.ask('requests', { port, ...shape })
    cpuUs += server.cpuUs() - before
    requests += requestCount
    delays.push(await server.ask('loopDelay', undefined))
    return rate
  }
  const limit = async (): Promise<number> => {
    await bare.ask('loopDelay', undefined)
    const before = bare.cpuUs()
    const { rate } = await load.ask('requests', { port: barePort, ...shape })
    bareCpuUs += bare.cpuUs() - before
    bareDelays.push(await bare.ask('loopDelay', undefined))
    return rate
  }
  const result = await pairs(pairCount, ours, limit)
  yield {
    name,
    value: rounded(result.ratio),
    unit: 'requests/s at 64 connections ÷ a bare server that accepts, answers and closes',
    goal: 0.7,
    better: 'higher',
    beside: {
      perSecond: result.ours,
      barePerSecond: result.limit,
      cpuUsPerRequest: rounded(cpuUs / requests),
      bareCpuUsPerRequest: rounded(bareCpuUs / requests),
      spread: result.spread,
    },
  }
  const sync = median([1, 2, 3].map(() => fdatasyncMs(folder).p99))
  yield {
    name: `${name}-loop-delay`,
    value: rounded(median(delays) / sync),
    unit: 'event-loop delay p99 at that load ÷ fdatasync p99',
    goal: 5,
    better: 'lower',
    beside: {
      delayP99Ms: rounded(median(delays)),
      bareDelayP99Ms: rounded(median(bareDelays)),
      bareValue: rounded(median(bareDelays) / sync),
      fdatasyncP99Ms: rounded(sync),
    },
  }
}

const listed = 10_000
const fetched = 1000
const listCount = 60
const fetchCount = 60
const warmUps = 6

/** What a list and a fetch cost, also with a million messages that wait for others. */
async function* readFigures(): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  await using fullFolder = await benchFolder()
  await using server: Server = new Child('./server-child.ts')
  await using full: Server = new Child('./server-child.ts')
  await using bare: Bare = new Child('./bare-child.ts')
  await using load: Load = new Child('./load-child.ts')
  const [port, fullPort] = [await server.ask('open', folder.path), await full.ask('open', fullFolder.path)]
  const [alice = ''] = await server.ask('register', listed)
  const [fullAlice = ''] = await full.ask('register', listed)
  await full.ask('fill', { count: 1_000_000, from: 1, to: listed, bytes: bodyBytes })
  await full.ask('settle', fullFolder.path)

  const request = (kind: 'list' | 'fetch', asker: string): string => base64(encodeRequest({ kind, asker: idOf(asker) }))
  const listTime = async (at: number, asker: string): Promise<number> =>
    1000 /
    (await load.ask('requests', { port: at, request: request('list', asker), count: listCount, concurrency: 1 })).rate
  const listBytes = 7 + (listed - 1) * 271
  const barePort = await bare.ask('answer', { requestBytes: 22, answerBytes: listBytes })
  const list = await pairs(
    pairCount,
    () => listTime(port, alice),
    () => listTime(barePort, alice),
  )
  yield {
    name: 'v2.list-10k',
    value: rounded(list.ratio),
    unit: 'time of a list of 10 000 clients ÷ the same bytes from memory',
    goal: 2,
    better: 'lower',
    beside: { ms: list.ours, bareMs: list.limit, spread: list.spread },
  }

  const fetchBytes = 7 + fetched * (25 + bodyBytes)
  const bareFetchPort = await bare.ask('answer', { requestBytes: 22, answerBytes: fetchBytes })
  const fetchTime = async (of: Server, at: number, asker: string): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < fetchCount; i++) {
      await of.ask('fill', { count: fetched, from: 0, to: 1, bytes: bodyBytes })
      times.push(
        (await load.ask('requests', { port: at, request: request('fetch', asker), count: 1, concurrency: 1 })).p50,
      )
    }
    return median(times)
  }
  const bareFetch = async (): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < fetchCount; i++)
      times.push(
        (
          await load.ask('requests', {
            port: bareFetchPort,
            request: request('fetch', alice),
            count: 1,
            concurrency: 1,
          })
        ).p50,
      )
    return median(times)
  }
  const fetch = await pairs(pairCount, () => fetchTime(server, port, alice), bareFetch)
  yield {
    name: 'v2.fetch-1000-young',
    value: rounded(fetch.ratio),
    unit: 'time of a fetch of 1000 young messages ÷ the same bytes from memory',
    goal: 3,
    better: 'lower',
    beside: { ms: fetch.ours, bareMs: fetch.limit, spread: fetch.spread },
  }

  const fullList = await pairs(
    pairCount,
    () => listTime(fullPort, fullAlice),
    () => listTime(port, alice),
  )
  yield {
    name: 'v2.list-10k-with-1M-waiting',
    value: rounded(fullList.ratio),
    unit: 'time of a list with 1 M messages waiting ÷ with none',
    goal: 1.1,
    better: 'lower',
    beside: { ms: fullList.ours, emptyMs: fullList.limit, spread: fullList.spread },
  }
  for (let i = 0; i < warmUps; i++) await fetchTime(full, fullPort, fullAlice) // as often as the other was asked before
  const fullFetch = await pairs(
    pairCount,
    () => fetchTime(full, fullPort, fullAlice),
    () => fetchTime(server, port, alice),
  )
  yield {
    name: 'v2.fetch-1000-with-1M-waiting',
    value: rounded(fullFetch.ratio),
    unit: 'time of a fetch with 1 M messages waiting for others ÷ with none',
    goal: 1.1,
    better: 'lower',
    beside: { ms: fullFetch.ours, emptyMs: fullFetch.limit, spread: fullFetch.spread },
  }
}
