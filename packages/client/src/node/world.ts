import { randomBytes } from 'node:crypto'
import { systemClock } from '../clock.ts'
import type { World } from '../connection.ts'
import { nodeTransport } from './transport.ts'

/**
 * This machine's network, clock and randomness. Node's own clock and randomness, because the ones that browsers have as
 * well are made when they are first asked for: a command that sends one message would wait for them.
 */
export function nodeWorld(): World {
  return {
    transport: nodeTransport(),
    clock: { ...systemClock, monotonicMs: () => Number(process.hrtime.bigint()) / 1e6 },
    random: (count) => Uint8Array.from(randomBytes(count)),
  }
}
