import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { formatAddress } from '../../src/v2/client.ts'
import { FakeServer, type Lies } from './fake-server.ts'
import { events, messageu, World } from './world.ts'

async function testRun(lies: Lies) {
  await using server = await FakeServer.start(lies)
  const ended = await messageu(['v2', 'test', '--server', formatAddress(server.address), '--json'])
  const steps = events(ended).filter(({ event }) => event === 'step')
  return { ...ended, server, results: steps.map(({ result }) => result), steps }
}

test('the sixteen steps pass against a right server, as often as one likes, and leave nothing behind', async () => {
  await using world = await World.start()
  const { server, folder } = world
  for (let run = 0; run < 2; run++) {
    const env = { ...process.env, TMPDIR: folder, TEMP: folder }
    const ended = await messageu(['v2', 'test', '--server', formatAddress(server.address)], undefined, { env })
    assert.equal(ended.code, 0, ended.out + ended.err)
    assert.equal(ended.out.match(/^pass/gm)?.length, 16)
    assert.match(ended.out, /all 16 steps passed/)
  }
  assert.deepEqual(await readdir(folder), [])
})

test('the steps make the 22 requests of the original, in its order', async () => {
  const { server, code } = await testRun({})
  assert.equal(code, 0)
  const kinds = server.requests.map((request) => (request.kind === 'send' ? request.addressed.type : request.kind))
  assert.deepEqual(kinds, [
    ...['register', 'list', 'fetch', 'register', 'register', 'list', 'key', 'key-request', 'list', 'key'],
    ...['fetch', 'fetch', 'key', 'fetch', 'fetch', 'text', 'text', 'text', 'fetch', 'fetch', 'file', 'fetch'],
  ])
})

for (const [what, lies, step] of [
  ['accepts a name twice', { acceptsDuplicates: true }, 5],
  ['lists who asks', { listsAsker: true }, 3],
  ['lists everybody twice', { listsTwice: true }, 7],
  ['hands out what was fetched again', { repeats: true }, 12],
  ['gives another public key', { givesOtherKey: true }, 11],
  ['loses texts', { losesTexts: true }, 15],
  ['turns the order round', { reverses: true }, 15],
  ['changes contents', { flipsContent: true }, 14],
  ['names another sender', { forgetsWhoSent: true }, 12],
] as const)
  test(`a server that ${what} fails step ${step}, and the rest is not run`, async () => {
    const { code, results, steps, out } = await testRun(lies)
    assert.equal(code, 1)
    const expected = Array.from({ length: 16 }, (_, i) => (i + 1 < step ? 'pass' : i + 1 === step ? 'fail' : 'not-run'))
    assert.deepEqual(results, expected, out)
    const failed = steps[step - 1]
    assert.ok(failed?.expected !== undefined && failed.got !== undefined && failed.expected !== failed.got)
  })

test('without a server the test fails at its first step, with 1', async () => {
  const ended = await messageu(['v2', 'test', '--server', '127.0.0.1:1'])
  assert.equal(ended.code, 1)
  assert.match(ended.out, /^FAIL 1 .*\n {2}expected: .*\n {2}got: .*cannot be reached.*\nnot run 2 /)
  assert.match(ended.err, /step 1 of 16 failed/)
})
