import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { type Call, needsStrace, readTrace, type Tracing } from '../strace.ts'

const written = ['pwrite64', 'write', 'writev']
const synced = ['fdatasync', 'fsync']
const onLog = ({ text }: Call): boolean => text.includes('/profile.db-wal>')

/** Alice and bob in folders of their own, who know each other. */
async function acquainted(link: string, folder: string) {
  const as =
    (name: string) =>
    (args: readonly string[], tracing?: Tracing): ReturnType<typeof run> =>
      run([...args, '--json', '--data-dir', folder, '--profile', name], { tracing, limitMs: 60_000 })
  const [alice, bob] = [as('alice'), as('bob')]
  for (const [name, command] of Object.entries({ alice, bob }))
    assert.equal((await command(['register', name, '--server', link])).exit.code, 0)
  assert.equal((await alice(['send', 'bob', 'hello'])).exit.code, 0)
  return { alice, bob }
}

/** What a client says in one WebSocket message, without the mask over it (RFC 6455 §5.2). */
function said({ text }: Call): Buffer {
  const buffers = Array.from(text.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g), ([, escaped = '']) => escaped)
  const frame = Buffer.from(buffers.join('').replaceAll('\\x', ''), 'hex')
  const at = { 126: 4, 127: 10 }[(frame[1] ?? 0) & 0x7f] ?? 2
  const mask = frame.subarray(at, at + 4)
  return Buffer.from(frame.subarray(at + 4).map((byte, i) => byte ^ (mask[i % 4] ?? 0)))
}

test('K02: a send leaves the client when everything that it has stored is on the disk', needsStrace, async () => {
  await using folder = await temporaryFolder('memory')
  await using server = await ServerProcess.start({ folder: folder.of('server') })
  const { alice } = await acquainted(server.link, folder.path)
  const output = folder.of('trace')
  const tracing = { calls: [...written, ...synced], output, buffers: true }
  const sent = await alice(['send', 'bob', 'again'], { ...tracing, inject: 'delay_enter=50000', injectInto: synced })
  assert.equal(sent.exit.code, 0, sent.err)
  const id = Buffer.from((JSON.parse(sent.out) as { id: string }).id, 'hex')
  const trace = readTrace(await readFile(output, 'utf8'))
  const send = trace.find(
    (call) => call.name.startsWith('write') && /<(socket|TCP)/.test(call.text) && said(call).includes(id),
  )
  assert.ok(send !== undefined, 'the send is in the trace')
  const stored = trace.findLast((call) => call.name === 'pwrite64' && onLog(call) && call.began < send.began)
  assert.ok(stored !== undefined, 'rows were written before')
  const isDurable = trace.some(
    (call) =>
      synced.includes(call.name) &&
      onLog(call) &&
      /^0\b/.test(call.result) && // '0 (DELAYED)'
      call.began > stored.ended &&
      call.ended < send.began,
  )
  assert.ok(isDurable, 'and synced')
})

test('K04: what cannot be brought to the disk is not sent, and the command says so', needsStrace, async () => {
  await using folder = await temporaryFolder('memory')
  await using server = await ServerProcess.start({ folder: folder.of('server') })
  const { alice, bob } = await acquainted(server.link, folder.path)
  const failing = await alice(['send', 'bob', 'lost'], {
    calls: ['fdatasync'],
    paths: [path.join(folder.path, 'alice', 'profile.db-wal')],
    inject: 'error=EIO',
  })
  assert.notEqual(failing.exit.code, 0)
  assert.match(failing.out, /cannot be brought to the disk/)
  assert.equal((await bob(['requests', 'accept', 'alice'])).exit.code, 0)
  const heard = await bob(['listen', '--once'])
  assert.match(heard.out, /"hello"/)
  assert.doesNotMatch(heard.out, /"lost"/)
})
