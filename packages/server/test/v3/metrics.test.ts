import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { suite, test } from 'node:test'
import type { ConversationId, SendId } from '@messageu/protocol/v3'
import { MemoryArchive } from '../../src/storage/memoryarchive.ts'
import { acceptedFrames } from '../../src/v3/acceptedframes.ts'
import { Figures } from '../../src/v3/figures.ts'
import { Readiness } from '../../src/v3/health.ts'
import { metricsOf, serveMetrics } from '../../src/v3/metrics.ts'
import { get, random, startListening } from './listening.ts'

function sources(figures = new Figures()) {
  return {
    version: '1.2.3',
    figures,
    connections: () => 7,
    sessions: () => 5,
    storage: () => ({ clients: 1, waitingMessages: 11, damagedMessages: 2 }),
    lastWriteMs: async () => 4,
    freeSpace: async () => ({ freeBytes: 1000, totalBytes: 2000 }),
    certificateNotAfter: () => new Date(99_000),
  }
}

/** The value of a line of the text. */
function valueIn(text: string, line: string): number {
  const found = text.split('\n').find((each) => each.startsWith(`${line} `))
  return Number(found?.slice(line.length + 1) ?? assert.fail(`no ${line}`))
}

suite('metrics', () => {
  test('tell how many there are of what, counted since the start', async () => {
    const figures = new Figures()
    const register = metricsOf(sources(figures))
    figures.acceptedMessages = 3
    figures.refused('limited')
    figures.refused('limited')
    figures.ended('timeout')
    figures.onAccepted?.(0.003)
    const text = await register.metrics()
    assert.equal(valueIn(text, 'messageu_connections'), 7)
    assert.equal(valueIn(text, 'messageu_sessions'), 5)
    assert.equal(valueIn(text, 'messageu_waiting_messages'), 11)
    assert.equal(valueIn(text, 'messageu_commit_seconds'), 0.004)
    assert.equal(valueIn(text, 'messageu_disk_free_bytes'), 1000)
    assert.equal(valueIn(text, 'messageu_certificate_expiry_seconds'), 99)
    assert.equal(valueIn(text, 'messageu_build_info{version="1.2.3"}'), 1)
    assert.equal(valueIn(text, 'messageu_accepted_messages_total'), 3)
    assert.equal(valueIn(text, 'messageu_refusals_total{reason="limited"}'), 2)
    assert.equal(valueIn(text, 'messageu_endings_total{why="timeout"}'), 1)
    assert.equal(valueIn(text, 'messageu_accept_seconds_bucket{le="0.005"}'), 1)
    assert.equal(valueIn(text, 'messageu_accept_seconds_bucket{le="0.002"}'), 0)
    assert.equal(valueIn(await register.metrics(), 'messageu_accepted_messages_total'), 3, 'and not twice')
    assert.match(text, /nodejs_eventloop_lag_p99_seconds/)
  })

  test('say nothing of people: only reasons and the version stand in labels', async () => {
    const figures = new Figures()
    figures.refused('limited')
    figures.ended('timeout')
    const text = await metricsOf(sources(figures)).metrics()
    const labels = [...text.matchAll(/^messageu_\w+\{(\w+)=/gm)].map(([, label]) => label)
    assert.deepEqual([...new Set(labels)].sort(), ['le', 'reason', 'version', 'why'])
  })

  test('are served to this machine only, under its own names', async () => {
    await using listener = await serveMetrics(metricsOf(sources()), 0)
    const base = `http://127.0.0.1:${listener.port}`
    const { status, text } = await get(`${base}/metrics`)
    assert.equal(status, 200)
    assert.match(text, /^# HELP/)
    assert.equal((await get(`${base}/`)).status, 404)
    assert.equal((await get(`${base}/metrics`, { method: 'POST' })).status, 404)
    const foreign = httpRequest({ port: listener.port, path: '/metrics', headers: { host: 'evil.example' } }).end()
    const answered = await new Promise<number | undefined>((resolve) =>
      foreign.on('response', (response) => resolve(response.resume().statusCode)),
    )
    assert.equal(answered, 421)
  })

  test('count what really happens', async () => {
    await using world = await startListening({
      handlers: {
        send: (_services, _session, replies) => ({
          take: (_body, request) => replies.done([request], acceptedFrames([request], 1, { positions: [1], at: 1 })),
          end() {},
        }),
      },
    })
    const timed: number[] = []
    world.listener.figures.onAccepted = (seconds) => timed.push(seconds)
    using peer = await world.session(world.people.add())
    const conversation = random(32) as ConversationId
    const send = { conversation, generation: 1, id: random(16) as SendId, number: 1, epoch: 1, sealed: random(3) }
    for (let i = 0; i < 3; i++) await peer.ask('send', send)
    const { figures } = world.listener
    assert.equal(figures.acceptedMessages, 3)
    assert.equal(timed.length, 1, 'a sample')
    assert(figures.receivedBytes > 200 && figures.sentBytes > 200)
  })
})

suite('readiness', () => {
  test('is a durable write that works, asked anew when it is older than a second', async () => {
    const archive = new MemoryArchive({ nowMs: Date.now })
    let now = 0
    let steps = 0
    let works = true
    const readiness = new Readiness(
      {
        step(step) {
          steps += 1
          now += 7
          return works ? archive.step(step) : Promise.reject(new Error('full'))
        },
      },
      () => now,
    )
    assert(await readiness.isReady())
    assert.equal(readiness.lastWriteMs, 7)
    works = false
    assert(await readiness.isReady(), 'it was a moment ago')
    assert.equal(steps, 1)
    now += 1001
    assert.deepEqual(await Promise.all([readiness.isReady(), readiness.isReady()]), [false, false])
    assert.equal(steps, 2)
    works = true
    now += 1001
    assert(await readiness.isReady())
  })
})
