import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { accountName, type Send } from '@messageu/protocol/v3'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { type Call, needsStrace, readTrace } from '../strace.ts'
import { Peer, random, reasonOf } from './peer.ts'

const calls = ['pwrite64', 'pwritev', 'write', 'writev', 'fsync', 'fdatasync']
const isSync = ({ name }: Call): boolean => name === 'fsync' || name === 'fdatasync'
const isWrite = ({ name }: Call): boolean => name.startsWith('pwrite')
const onLog = ({ text }: Call): boolean => text.includes('/server.db-wal>')

/** All the buffers of a call, one behind the other: `writev` has several. */
function bytesOf({ text }: Call): Buffer {
  const buffers = Array.from(text.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g), ([, escaped = '']) => escaped)
  return Buffer.from(buffers.join('').replaceAll('\\x', ''), 'hex')
}

/** The answer that holds these bytes, leaving by a socket. */
function answerWith(trace: readonly Call[], bytes: Buffer): Call {
  const answer = trace.find(
    (call) => call.name.startsWith('write') && /<(socket|TCP)/.test(call.text) && bytesOf(call).includes(bytes),
  )
  assert(answer !== undefined, 'the answer is in the trace')
  return answer
}

/** Asserts that `canary` was written to the log and synced before `answer` left. */
function assertSyncedBefore(trace: readonly Call[], canary: Uint8Array, answer: Call): void {
  const row = trace.find((call) => isWrite(call) && onLog(call) && bytesOf(call).includes(Buffer.from(canary)))
  assert(row !== undefined, 'the row is in the log')
  const sync = trace.find((call) => isSync(call) && onLog(call) && call.began > row.ended && call.result === '0')
  assert(sync !== undefined, 'the log is synced')
  assert(sync.ended < answer.began, `the answer left at ${answer.began}, the sync ended at ${sync.ended}`)
}

/** An `Accepted` begins with sequence and position. */
function acceptedBytes({ sequence, position }: { sequence: number; position: number }): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeBigUInt64LE(BigInt(sequence), 0)
  bytes.writeBigUInt64LE(BigInt(position), 8)
  return bytes
}

for (const atOnce of [1, 16])
  test(
    `K02: every answer to a send, a commit or a list entry leaves after it is on disk, ${atOnce} at once`,
    needsStrace,
    async () => {
      await using temporary = await temporaryFolder('memory')
      const output = temporary.of('trace')
      const sent: { canary: Uint8Array; answer: Buffer }[] = []
      let registered: Buffer
      {
        await using server = await ServerProcess.start({
          folder: temporary.of('data'),
          tracing: { calls, output, buffers: true },
          flags: ['--log-level', 'error'],
        })
        using alice = await Peer.register(server.link, 'alice-canary')
        registered = Buffer.concat([alice.account, alice.identity.ownDevices])
        const conversation = await alice.groupWith()
        const sender = async (): Promise<void> => {
          for (let i = 0; i < 32 / atOnce; i++) {
            const canary = random(32)
            const accepted = await alice.send(conversation, canary)
            sent.push({ canary, answer: acceptedBytes(accepted) })
          }
        }
        await Promise.all(Array.from({ length: atOnce }, sender))
        const commit = random(32)
        const committed = await alice.ask('commit', alice.newCommit(conversation, 1, [alice.device], commit))
        sent.push({ canary: commit, answer: acceptedBytes(committed) })
        using sibling = await alice.sibling()
        const listed = await alice.ask('find', { after: accountName('alice-canary') })
        assert(listed !== undefined)
        sent.push({ canary: sibling.device, answer: Buffer.from(listed.listHash) })
        assert.deepEqual(await server.end(), { code: 0, signal: null })
      }
      const trace = readTrace(await readFile(output, 'utf8'))
      assertSyncedBefore(trace, Buffer.from('alice-canary'), answerWith(trace, registered))
      for (const { canary, answer } of sent) assertSyncedBefore(trace, canary, answerWith(trace, answer))
    },
  )

test(
  'K04: after a failed sync nothing is answered, the server ends, and what it had answered is there',
  needsStrace,
  async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const tracing = {
      calls: ['fsync', 'fdatasync'],
      paths: [path.join(folder, 'server.db-wal')],
      inject: 'error=EIO:when=20', // each thread counts for itself: this is a commit of the writer
    }
    const accepted: Send[] = []
    const unknown: Send[] = []
    let identity: Peer['identity']
    let conversation: Send['conversation']
    {
      await using server = await ServerProcess.start({ folder, tracing })
      using alice = await Peer.register(server.link, 'alice')
      identity = alice.identity
      conversation = await alice.groupWith()
      for (let i = 0; i < 40 && unknown.length === 0; i++) {
        const send = alice.newSend(conversation, random(100))
        const outcome = await alice.outcomeOf('send', send)
        assert.match(outcome, /^(?:done|no answer)$/, 'nothing is refused of which nobody knows whether it is stored')
        if (outcome === 'done') accepted.push(send)
        else unknown.push(send)
      }
      assert.equal(unknown.length, 1, 'a send met the fault')
      assert.deepEqual(await server.exited, { code: 1, signal: null })
      assert.match(server.run.out, /"event":"error","code":"cannot-store"/)
    }
    const doctor = await run(['admin', 'doctor', '--data', folder])
    assert.equal(doctor.exit.code, 0, doctor.out + doctor.err)
    await using server = await ServerProcess.start({ folder })
    using alice = new Peer(identity, server.http.port)
    await alice.reconnect()
    for (const send of [...accepted, ...unknown]) assert.equal(await reasonOf(alice.ask('send', send)), 'done')
    const { sequence } = await alice.ask('read-state', { conversation })
    assert.equal(sequence, 1 + accepted.length + unknown.length, 'each of them once')
  },
)
