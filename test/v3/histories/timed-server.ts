/**
 * A server whose time passes only when its parent says so: `node timed-server.ts FOLDER PORT`. Everything else is as in
 * `messageu serve`: storage on disk, threads, sockets.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { toBase64url } from '@messageu/protocol/v3'
import { FakeClock } from '../../../packages/client/test/fake-clock.ts'
import { readConfig } from '../../../packages/server/src/config.ts'
import { openLog } from '../../../packages/server/src/log.ts'
import { openSqlite } from '../../../packages/server/src/storage/sqlite.ts'
import { ownerOf } from '../../../packages/server/src/v3/boxes.ts'
import { sequenceIn } from '../../../packages/server/src/v3/letters.ts'
import { numberKey } from '../../../packages/server/src/v3/numbers.ts'
import { startV3 } from '../../../packages/server/src/v3/start.ts'

/** What lies in one box: whose it is, how many, and the sequence of the oldest. */
export type LeftBox =
  | { kind: 'welcome'; device: string; count: number }
  | { kind: 'application' | 'handshake'; conversation: string; count: number; oldest: number }

/** What the parent asks for, and what it is answered. */
export type Asked = { kind: 'pass' | 'age'; ms: number } | { kind: 'waiting' } | { kind: 'stop' }
export type Answered =
  | { kind: 'passed' }
  | { kind: 'waiting'; boxes: LeftBox[] }
  | { kind: 'listening'; link: string; port: number }

const [folder = '', port = '0', nowMs = '0'] = process.argv.slice(2)
const clock = new FakeClock()
clock.jump(Number(nowMs) - clock.nowMs())
const config = readConfig({
  flags: { data: folder, port, 'disk-reserve': '0%', 'log-level': 'info' },
  environment: {},
  workingFolder: folder,
})
const log = openLog('info')
const storage = await openSqlite({
  folder,
  nowMs: () => clock.nowMs(),
  limits: { mailboxBytesMax: config['v2.mailbox-quota'], clientsMax: config['v2.clients'] },
  diskReserveShare: 0,
})
const server = await startV3({
  config,
  storage,
  log,
  clock,
  schedule(afterMs, run) {
    const timer = clock.after(afterMs, run)
    return () => timer[Symbol.dispose]()
  },
  random: (count) => new Uint8Array(randomBytes(count)),
  connectionsMax: 1000,
  version: 'test',
})
const tell = (answered: Answered): void => void process.send?.(answered)

async function answer(asked: Asked): Promise<void> {
  switch (asked.kind) {
    case 'pass':
      await clock.pass(asked.ms)
      return tell({ kind: 'passed' })
    case 'age': // everything that is due meanwhile happens once, at the end
      await clock.sleep(asked.ms)
      return tell({ kind: 'passed' })
    case 'waiting': {
      const boxes = Array.from(storage.archive.occupiedBoxes(), ({ box }) => leftIn(box))
      return tell({ kind: 'waiting', boxes: await Promise.all(boxes) })
    }
    case 'stop':
      await server.stop(1000)
      await storage[Symbol.asyncDispose]()
      process.exit(0)
  }
}

async function leftIn(box: number): Promise<LeftBox> {
  const { archive } = storage
  const [count, owner] = [archive.countOf(box), ownerOf(box)]
  assert(owner !== undefined, 'every box of version 3 is somebody’s')
  const id = await archive.get(
    owner.kind === 'welcome' ? 'deviceNumber' : 'conversationNumber',
    numberKey(owner.number),
  )
  assert(id !== undefined, 'whoever has a box has a number')
  if (owner.kind === 'welcome') return { kind: owner.kind, device: toBase64url(id), count }
  const waiting = archive.reader(box, 0).peek()
  const [message] = waiting === undefined ? [] : await archive.read([waiting])
  const oldest = message && sequenceIn(message.content)
  assert(oldest !== undefined, 'what lies in an occupied box can be read')
  return { kind: owner.kind, conversation: toBase64url(id), count, oldest }
}

process.on('message', (asked: Asked) => void answer(asked))
process.on('disconnect', () => process.exit(0))
tell({ kind: 'listening', link: server.link, port: server.address.port })
