import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { adminSocketPath } from '@messageu/server'
import * as v from 'valibot'
import { Failure, isSystemError } from './failure.ts'

/** A request to the server that runs on a data folder, as it goes over its socket. */
export type AdminRequest = { readonly do: string } & Readonly<Record<string, string | number | boolean>>

const Event = v.variant('event', [
  v.object({ event: v.literal('invite'), link: v.string(), isAdmin: v.boolean(), notAfter: v.string() }),
  v.object({
    event: v.literal('account'),
    name: v.string(),
    account: v.string(),
    isAdmin: v.boolean(),
    isDisabled: v.boolean(),
    devices: v.number(),
    storedBytes: v.number(),
    quotaBytes: v.number(),
    createdAt: v.string(),
  }),
  v.object({ event: v.literal('stats'), counts: v.record(v.string(), v.number()) }),
  v.object({ event: v.literal('refused'), reason: v.string(), message: v.string() }),
  v.object({ event: v.literal('done') }),
])
export type AdminEvent = v.InferOutput<typeof Event>

/** A server that stands still must not keep the operator waiting for ever. */
const answerMs = 30_000

/** Asks the server that runs on `folder`. Ends with the last event; throws `Failure` where it refuses or is not there. */
export async function* askServer(folder: string, request: AdminRequest): AsyncIterable<AdminEvent> {
  const socket = await dialled(folder)
  try {
    socket.setTimeout(answerMs, () => socket.destroy())
    socket.write(`${JSON.stringify({ v: 1, ...request })}\n`)
    for await (const line of createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })) {
      const event = eventOf(line)
      if (event.event === 'refused') throw refusal(event)
      if (event.event === 'done') return
      yield event
    }
    throw cutOff(folder)
  } finally {
    socket.destroy()
  }
}

async function dialled(folder: string): Promise<Socket> {
  const socket = connect(adminSocketPath(folder))
  try {
    await once(socket, 'connect')
  } catch (error) {
    if (!isSystemError(error) || !['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'EINVAL'].includes(error.code)) throw error
    throw new Failure('no-running-server', {
      what: `no server runs on ${folder}`,
      advice: `start it with messageu serve --data ${folder}, or name its folder with --data`,
      cause: error,
    })
  }
  socket.on('error', () => socket.destroy())
  return socket
}

function eventOf(line: string): AdminEvent {
  try {
    return v.parse(Event, JSON.parse(line))
  } catch (error) {
    const advice = 'use the same version of messageu as the server'
    throw new Failure('bad-answer', { what: 'the server says something that is not understood', advice, cause: error })
  }
}

function refusal({ reason, message }: { reason: string; message: string }): Failure {
  if (reason === 'not-permitted')
    return new Failure('no-such-account', { what: message, advice: 'messageu admin accounts' })
  if (reason === 'bad-name') return new Failure('bad-name', { what: message, advice: 'messageu admin accounts' })
  return new Failure('refused', { what: message, why: reason, advice: 'messageu admin --help' })
}

function cutOff(folder: string): Failure {
  return new Failure('cut-off', {
    what: 'the server has not answered to the end',
    advice: `the log of the server on ${folder}`,
  })
}
