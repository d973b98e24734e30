import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { showProgress } from '../src/progress.ts'

function outputs({ json, isTTY }: { json: boolean; isTTY: boolean }) {
  const out = new PassThrough()
  const err = Object.assign(new PassThrough(), { isTTY })
  return { json, out, err, text: () => `${out.read() ?? ''}|${err.read() ?? ''}` }
}

/** A transfer of 100 pieces, one second each. */
function transfer(output: ReturnType<typeof outputs>, pieces = 100): string {
  let now = 0
  const progress = showProgress(output, 'sending', () => now)
  for (let done = 1; done <= pieces; done++) {
    now += 1000
    progress.onProgress(done * 1e6, 100e6)
  }
  progress[Symbol.dispose]()
  return output.text()
}

test('without a terminal a transfer is one line per 10 %, with rate and time left', () => {
  const lines = transfer(outputs({ json: false, isTTY: false }))
    .slice(1)
    .trimEnd()
    .split('\n')
  assert.equal(lines.length, 10)
  assert.equal(lines[2], 'sending  30 % of 100.0 MB, 1.0 MB/s, 01:10 left')
  assert.equal(lines[9], 'sending 100 % of 100.0 MB, 1.0 MB/s, 01:40')
})

test('with --json a transfer is one event per 10 %, on the standard output', () => {
  const lines =
    transfer(outputs({ json: true, isTTY: true }))
      .split('|')[0]
      ?.trimEnd()
      .split('\n') ?? []
  assert.equal(lines.length, 10)
  assert.deepEqual(JSON.parse(lines[0] ?? ''), { v: 1, event: 'progress', what: 'sending', done: 10e6, total: 100e6 })
})

test('on a terminal a transfer is a bar that ends its line', () => {
  const text = transfer(outputs({ json: false, isTTY: true }))
  assert.match(text, /^\|\r/)
  assert.match(text, /\[#{12}\.{12}\] +50 % of 100\.0 MB, 1\.0 MB\/s, 00:50 left/)
  assert.match(text, /\n$/)
})

test('a bar that does not come to its end leaves its line', () => {
  assert.match(transfer(outputs({ json: false, isTTY: true }), 50), /left\n$/)
})

test('an empty file is done at once', () => {
  const output = outputs({ json: false, isTTY: false })
  showProgress(output, 'sending', () => 0).onProgress(0, 0)
  assert.equal(output.text(), '|sending 100 %\n')
})
