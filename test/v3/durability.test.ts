import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { accountName, answers, type Send, writeFrame } from '@messageu/protocol/v3'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { type Call, needsStrace } from '../strace.ts'
import { assertNamedBefore, assertSyncedBefore, isSync, leaving, onLog, traced } from '../syncing.ts'
import { Peer, random, reasonOf } from './peer.ts'

/** An `Accepted` begins with sequence and position. */
function acceptedBytes({ sequence, position }: { sequence: number; position: number }): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeBigUInt64LE(BigInt(sequence), 0)
  bytes.writeBigUInt64LE(BigInt(position), 8)
  return bytes
}

const leavingWith = (trace: readonly Call[], bytes: Uint8Array): Call =>
  leaving(trace, (written) => written.includes(Buffer.from(bytes)))

for (const atOnce of [1, 16])
  test(
    `K02: what is answered to a send, a commit or a list entry, and what is delivered, leaves after it is on disk, ${atOnce} at once`,
    needsStrace,
    async () => {
      const sent: { canary: Uint8Array; answer: Uint8Array }[] = []
      let registered = random(0)
      const trace = await traced(async ({ link }) => {
        using alice = await Peer.register(link, 'alice-canary')
        using bob = await Peer.register(link, 'bob')
        registered = Buffer.concat([alice.account, alice.identity.ownDevices])
        const conversation = await alice.groupWith(bob)
        await bob.credit()
        const sender = async (): Promise<void> => {
          for (let i = 0; i < 32 / atOnce; i++) {
            const canary = random(32)
            const accepted = await alice.send(conversation, canary)
            sent.push({ canary, answer: acceptedBytes(accepted) })
          }
        }
        await Promise.all(Array.from({ length: atOnce }, sender))
        const commit = random(32)
        const committed = await alice.ask(
          'commit',
          alice.newCommit(conversation, 1, [alice.device, bob.device], commit),
        )
        sent.push({ canary: commit, answer: acceptedBytes(committed) })
        await bob.until(() => bob.deliveries.some(({ position }) => position === committed.position))
        using sibling = await alice.sibling()
        const listed = await alice.ask('find', { after: accountName('alice-canary') })
        assert(listed !== undefined)
        sent.push({ canary: sibling.device, answer: listed.listHash })
      })
      assertSyncedBefore(trace, Buffer.from('alice-canary'), leavingWith(trace, registered))
      for (const { canary, answer } of sent) assertSyncedBefore(trace, canary, leavingWith(trace, answer))
      for (const { canary } of sent.slice(0, -1)) assertSyncedBefore(trace, canary, leavingWith(trace, canary))
    },
  )

test(
  'K02: a large message is synced, named, and its folder synced, before its send is answered',
  needsStrace,
  async () => {
    let id = random(16)
    let answer = random(0)
    const trace = await traced(async ({ link }) => {
      using alice = await Peer.register(link, 'alice')
      const send = alice.newSend(await alice.groupWith(), random(200_000))
      id = send.id
      answer = acceptedBytes(await alice.ask('send', send))
    })
    assertNamedBefore(trace, '1', assertSyncedBefore(trace, id, leavingWith(trace, answer)))
  },
)

test('K02: what is acknowledged is forgotten on disk before that is answered', needsStrace, async () => {
  const canary = random(32)
  let answer = random(0)
  const trace = await traced(async ({ link }) => {
    using alice = await Peer.register(link, 'alice')
    using bob = await Peer.register(link, 'bob')
    const { position } = await alice.send(await alice.groupWith(bob), canary)
    await bob.credit()
    await bob.until(() => bob.deliveries.some((delivery) => delivery.position === position))
    const { number, bytes } = bob.frame('acknowledge', { through: position })
    answer = writeFrame({ code: answers.done, request: number, body: new Uint8Array() })
    const answered = bob.answerTo(number)
    bob.wire.send(bytes)
    await answered
  })
  const delivery = leavingWith(trace, canary)
  const answered = leavingWith(
    trace.filter(({ began }) => began > delivery.ended),
    answer,
  )
  const sync = trace.find((call) => isSync(call) && onLog(call) && call.began > delivery.ended)
  assert(sync?.result === '0' && sync.ended < answered.began)
})

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
