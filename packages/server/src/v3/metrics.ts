import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { FreeSpace } from '../disk.ts'
import type { StorageFigures } from '../storage.ts'
import type { Figures } from './figures.ts'
import { answer, dialledHost } from './http.ts'

/** Where the numbers come from. None of them says who. */
export interface MetricsSources {
  readonly version: string
  readonly figures: Figures
  connections(): number
  sessions(): number
  storage(): StorageFigures
  /** Milliseconds that the newest durable write took. */
  lastWriteMs(): Promise<number>
  freeSpace(): Promise<FreeSpace>
  certificateNotAfter(): Date | undefined
}

/** All metrics, collected when they are asked for. */
export function metricsOf(sources: MetricsSources): Registry {
  const register = new Registry()
  collectDefaultMetrics({ register }) // of the process, its memory and its event loop
  addGauges(register, sources)
  addCounters(register, sources.figures)
  const accepted = new Histogram({
    name: 'messageu_accept_seconds',
    help: 'From the arrival of a send to its durable answer; a sample',
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    registers: [register],
  })
  sources.figures.onAccepted = (seconds) => accepted.observe(seconds)
  return register
}

function addGauges(register: Registry, sources: MetricsSources): void {
  const gauge = (name: string, help: string, read: () => number | Promise<number>): void => {
    const made = new Gauge({
      name: `messageu_${name}`,
      help,
      registers: [register],
      async collect() {
        made.set(await read())
      },
    })
  }
  gauge('connections', 'Open connections', () => sources.connections())
  gauge('sessions', 'Proved sessions', () => sources.sessions())
  gauge('waiting_messages', 'Messages that somebody has not fetched yet', () => sources.storage().waitingMessages)
  gauge('damaged_messages', 'Messages whose stored bytes are wrong', () => sources.storage().damagedMessages)
  gauge(
    'commit_seconds',
    'What the newest probe of a durable write took',
    async () => (await sources.lastWriteMs()) / 1000,
  )
  gauge('disk_free_bytes', 'Free on the disk with the data folder', async () => (await sources.freeSpace()).freeBytes)
  gauge('certificate_expiry_seconds', 'When the certificate ends, since 1970; 0 without TLS', () => {
    return Math.round((sources.certificateNotAfter()?.getTime() ?? 0) / 1000)
  })
  const { version } = sources
  new Gauge({ name: 'messageu_build_info', help: 'The version', labelNames: ['version'], registers: [register] }).set(
    { version },
    1,
  )
}

function addCounters(register: Registry, figures: Figures): void {
  const counter = (name: string, help: string, read: () => number): void => {
    const made = new Counter({
      name: `messageu_${name}_total`,
      help,
      registers: [register],
      collect() {
        made.reset()
        made.inc(read())
      },
    })
  }
  counter('accepted_messages', 'Messages and commits that were accepted', () => figures.acceptedMessages)
  counter('delivered_messages', 'Messages that were handed to a session', () => figures.deliveredMessages)
  counter('received_bytes', 'Bytes of frames that came', () => figures.receivedBytes)
  counter('sent_bytes', 'Bytes of frames that went', () => figures.sentBytes)
  counter('turned_away', 'Connections over a limit', () => figures.turnedAway)
  labelled(register, 'refusals', 'reason', 'Refused requests', figures.refusals)
  labelled(register, 'endings', 'why', 'Sessions that the server has ended', figures.endings)
}

function labelled(
  register: Registry,
  name: string,
  label: string,
  help: string,
  counts: ReadonlyMap<string, number>,
): void {
  const made = new Counter({
    name: `messageu_${name}_total`,
    help,
    labelNames: [label],
    registers: [register],
    collect() {
      made.reset()
      for (const [value, count] of counts) made.inc({ [label]: value }, count)
    },
  })
}

export interface MetricsListener extends AsyncDisposable {
  readonly port: number
}

/** Serves the metrics to this machine, and to nobody else. Rejects when the port cannot be had. */
export async function serveMetrics(register: Registry, port: number): Promise<MetricsListener> {
  const server = createServer({ headersTimeout: 5000, requestTimeout: 5000 }, (request, response) => {
    const host = dialledHost(request.headers.host, { security: 'plain', isLocalOnly: true })
    if (typeof host !== 'string') answer(response, host.status, `${host.why}\n`)
    else if (request.url !== '/metrics' || request.method !== 'GET') answer(response, 404, 'not found\n')
    else
      register.metrics().then(
        (text) => answer(response, 200, text),
        (error: Error) => answer(response, 503, `${error.message}\n`),
      )
  })
  server.maxConnections = 16
  server.listen({ host: '127.0.0.1', port })
  await once(server, 'listening')
  return { port: portOf(server), [Symbol.asyncDispose]: () => closed(server) }
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the listener is closed')
  return address.port
}

async function closed(server: Server): Promise<void> {
  const over = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await over
}
