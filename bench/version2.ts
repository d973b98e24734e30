import { type ClientId, encodeRequest, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { Child } from './children.ts'
import { benchFolder, type Figure, fdatasyncMs, median, pairs, rounded } from './measure.ts'
import { type Bare, base64, idOf, type Load, type Server } from './parties.ts'
import { fetch, list, readFigures } from './version2reads.ts'

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

/** Version 2 over TCP, one connection a request; by what the names of the figures begin with. */
export const version2Groups = {
  'v2.send': () =>
    perRequest('v2.send', (alice, bob) => ({ request: sendRequest(alice, bob, bodyBytes), answerBytes: 27 })),
  'v2.register': () =>
    perRequest('v2.register', () => ({
      request: registerRequest(),
      answerBytes: 23,
      counterAt: registerCounterAt,
    })),
  'v2.list': () => readFigures(list),
  'v2.fetch': () => readFigures(fetch),
}

interface Kind {
  readonly request: Buffer
  readonly answerBytes: number
  readonly counterAt?: number
}

async function* perRequest(name: string, kindOf: (alice: string, bob: string) => Kind): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  await using server: Server = new Child('./server-child.ts')
  await using bare: Bare = new Child('./bare-child.ts')
  await using load: Load = new Child('./load-child.ts')
  const port = await server.ask('open', folder.path)
  const [alice = '', bob = ''] = await server.ask('register', 2)
  const { request, answerBytes, counterAt } = kindOf(alice, bob)
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
  const sync = median([1, 2, 3].map(() => fdatasyncMs(folder.path).p99))
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
  await server.ask('close', undefined)
}
