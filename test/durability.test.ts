import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { openForWriting } from '../packages/server/src/storage/schema.ts'
import { Oracle } from './oracle.ts'
import { run, ServerProcess, temporaryFolder } from './serverProcess.ts'
import { bytesOf, type Call, needsStrace } from './strace.ts'
import { assertNamedBefore, assertSyncedBefore, isSync, leaving, onLog, traced } from './syncing.ts'
import { type Address, fetch, register, send } from './v2peer.ts'

const answerWith = (trace: readonly Call[], code: number, id: Buffer): Call =>
  leaving(trace, (bytes) => bytes.length > 7 && bytes.readUInt16LE(1) === code && bytes.includes(id))

function idBytes(id: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(id)
  return bytes
}

async function registered(server: Address, name: string): Promise<string> {
  const told = await register(server, name, randomBytes(160))
  assert(told.kind === 'answer')
  return told.value
}

for (const atOnce of [1, 16])
  test(`K02 every answer leaves after its commit is on disk, ${atOnce} at once`, needsStrace, async () => {
    const sent: { canary: Buffer; id: number }[] = []
    let alice = ''
    const trace = await traced(async ({ address: server }) => {
      alice = await registered(server, 'alice-canary')
      const client = async (): Promise<void> => {
        for (let i = 0; i < 48 / atOnce; i++) {
          const canary = randomBytes(32)
          const told = await send(server, alice, alice, canary)
          assert(told.kind === 'answer')
          sent.push({ canary, id: told.value })
        }
      }
      await Promise.all(Array.from({ length: atOnce }, client))
    })
    assertSyncedBefore(trace, Buffer.from('alice-canary'), answerWith(trace, 1000, Buffer.from(alice, 'hex')))
    const own = Buffer.from(alice, 'hex')
    for (const { canary, id } of sent)
      assertSyncedBefore(trace, canary, answerWith(trace, 1003, Buffer.concat([own, idBytes(id)])))
  })

test(
  'K02 a large content is synced, named, and its folder synced, before its message is answered',
  needsStrace,
  async () => {
    let id = 0
    let alice = ''
    const trace = await traced(async ({ address: server }) => {
      alice = await registered(server, 'alice')
      const told = await send(server, alice, alice, randomBytes(300_000))
      assert(told.kind === 'answer')
      id = told.value
    })
    const head = Buffer.concat([Buffer.from(alice, 'hex'), idBytes(id)])
    assertNamedBefore(trace, '1', assertSyncedBefore(trace, head, answerWith(trace, 1003, head)))
  },
)

test('K02 what was fetched is forgotten on disk before the next fetch is answered', needsStrace, async () => {
  let alice = ''
  const canary = randomBytes(32)
  const trace = await traced(async ({ address: server }) => {
    alice = await registered(server, 'alice')
    await send(server, alice, alice, canary)
    await fetch(server, alice)
    const again = await fetch(server, alice)
    assert(again.kind === 'answer' && again.value.length === 0)
  })
  const delivery = answerWith(trace, 1004, canary)
  const empty = trace.findLast((call) => bytesOf(call).equals(Buffer.from('02ec0300000000', 'hex')))
  const removal = trace.find((call) => isSync(call) && onLog(call) && call.began > delivery.ended)
  assert(empty && removal && removal.ended < empty.began)
})

test('K02 a database that would not sync its commits is refused', async (t) => {
  await using temporary = await temporaryFolder()
  const exec = DatabaseSync.prototype.exec
  t.mock.method(DatabaseSync.prototype, 'exec', function (this: DatabaseSync, sql: string) {
    return exec.call(this, sql.replace('synchronous=FULL', 'synchronous=NORMAL'))
  })
  assert.throws(() => openForWriting(temporary.of('server.db')), /refuses durable commits.*synchronous 1/)
  t.mock.restoreAll()
  assert.throws(() => openForWriting(':memory:'), /refuses durable commits.*journal_mode memory/)
})

test(
  'K04 after a failed sync nothing is accepted, nothing refused appears, and the server ends',
  needsStrace,
  async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const oracle = new Oracle()
    {
      const log = path.join(folder, 'server.db-wal')
      // each thread counts for itself, and the start is done with fewer: this is a commit of the writer
      const tracing = { calls: ['fsync', 'fdatasync'], paths: [log], inject: 'error=EIO:when=8' }
      await using server = await ServerProcess.start({ folder, tracing })
      oracle.meet(server.address)
      await oracle.register('alice')
      const batch = () => Promise.all([1, 2, 3].map(() => oracle.send('alice', 'alice', 100)))
      let outcomes = await batch()
      for (let i = 0; i < 10 && outcomes.every((outcome) => outcome === 'accepted'); i++) outcomes = await batch()
      assert(outcomes.includes('unknown'), 'a batch met the fault')
      assert.deepEqual(await server.exited, { code: 1, signal: null })
      assert.match(server.run.out, /"event":"error","code":"cannot-store"/)
      assert(
        server.run.log.some(({ event }) => event === 'stopping'),
        'and it says so in the log',
      )
    }
    const doctor = await run(['admin', 'doctor', '--data', folder])
    assert.equal(doctor.exit.code, 0, doctor.out + doctor.err)
    await using server = await ServerProcess.start({ folder })
    oracle.meet(server.address)
    await oracle.judge()
  },
)

test(
  'K04 when the log cannot be synced into the database the server ends, and what it had accepted is there',
  needsStrace,
  async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const oracle = new Oracle()
    {
      await using server = await ServerProcess.start({ folder }) // whatever a first start syncs is synced
      oracle.meet(server.address)
      await oracle.register('alice')
    }
    {
      const tracing = { calls: ['fsync', 'fdatasync'], paths: [path.join(folder, 'server.db')], inject: 'error=EIO' }
      await using server = await ServerProcess.start({ folder, tracing })
      oracle.meet(server.address)
      const batch = () => Promise.all(Array.from({ length: 8 }, () => oracle.send('alice', 'alice', 60_000)))
      let outcomes = await batch()
      for (let i = 0; i < 60 && outcomes.every((outcome) => outcome === 'accepted'); i++) outcomes = await batch()
      assert(outcomes.includes('unknown'), 'the log grew long enough')
      assert.deepEqual(await server.exited, { code: 1, signal: null })
      assert.match(server.run.out, /"event":"error","code":"cannot-store"/)
    }
    const doctor = await run(['admin', 'doctor', '--data', folder])
    assert.equal(doctor.exit.code, 0, doctor.out + doctor.err)
    await using server = await ServerProcess.start({ folder })
    oracle.meet(server.address)
    await oracle.judge()
  },
)
