import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import type { Send } from '@messageu/protocol/v3'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { Peer, random, reasonOf } from './peer.ts'
import { Stage } from './stage.ts'

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

test('K08: a second server on the same folder ends at once and names the first, which goes on; a killed one leaves no lock', async () => {
  await using stage = await Stage.start()
  const second = await run(['serve', '--json', '--data', stage.folder, '--port', '0', '--v2-port', '0'])
  assert.notEqual(second.exit.code, 0)
  assert.match(second.out, new RegExp(`\\b${stage.server.pid}\\b`))
  await stage.unharmed()
  await stage.server.end('SIGKILL')
  await stage.restart()
  await stage.alice.reconnect()
  assert.equal(await stage.alice.outcomeOf('read-state', { conversation: stage.conversation }), 'done')
})

test('K09: a server that is told to stop under load answers what it accepts, tells its sessions, and ends', async () => {
  await using stage = await Stage.start()
  const { alice, bob, conversation } = stage
  const told = new Map<Send, string>()
  const speaking = (async () => {
    for (const i of numbers(100_000)) {
      const send = alice.newSend(conversation, random(300))
      const outcome = alice.outcomeOf('send', send)
      void outcome.then((reason) => told.set(send, reason))
      if (i % 16 === 15) await outcome
      if (!alice.wire.isOpen) return
    }
  })()
  await bob.until(() => bob.heard(conversation).length > 50)
  const exited = stage.server.end('SIGTERM')
  await bob.wire.closed
  assert(bob.notices.some(({ kind }) => kind === 'stopping'))
  assert.deepEqual(await exited, { code: 0, signal: null })
  await speaking
  const outcomes = new Set(told.values())
  for (const outcome of outcomes) assert.match(outcome, /^(?:done|stopping|no answer)$/)
  assert(outcomes.has('done'))

  await stage.restart()
  await alice.reconnect()
  const { sequence } = await alice.ask('read-state', { conversation })
  const accepted = [...told.values()].filter((outcome) => outcome === 'done').length
  const unknown = [...told.values()].filter((outcome) => outcome === 'no answer').length
  assert(sequence >= 1 + accepted && sequence <= 1 + accepted + unknown, 'what was accepted, and nothing refused')
  for (const [send, outcome] of told)
    if (outcome === 'done') assert.equal(await reasonOf(alice.ask('send', send)), 'done')
  assert.equal((await alice.ask('read-state', { conversation })).sequence, sequence, 'all of it was there')
})

test('K12: whatever the umask, everything that the server makes is its own', async () => {
  await using temporary = await temporaryFolder()
  const folder = temporary.of('data')
  {
    await using server = await ServerProcess.start({ folder, umask: 0 })
    using alice = await Peer.register(server.link, 'alice')
    const conversation = await alice.groupWith()
    await alice.send(conversation, random(100_000))
    for (const name of ['', ...(await readdir(folder, { recursive: true }))]) {
      const { mode } = await stat(path.join(folder, name))
      assert.equal(mode & 0o077, 0, `${name || 'the folder'} is ${(mode & 0o777).toString(8)}`)
    }
  }
})
