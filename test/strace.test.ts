import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'
import { temporaryFolder } from './serverProcess.ts'
import { faulty, needsStrace } from './strace.ts'

const program = path.join(import.meta.dirname, 'writing-child.ts')

/** A process that writes to `file` in a new thread whenever it is asked to. */
async function startWriting(file: string) {
  const child = spawn(process.execPath, [program, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  assert.equal((await lines.next()).value, 'ready')
  return {
    pid: child.pid as number, // it has started
    /** What became of one write. */
    async write(): Promise<string> {
      child.stdin.write('\n')
      return String((await lines.next()).value)
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await once(child, 'close')
    },
  }
}

async function tracerOf(pid: number): Promise<number> {
  return Number(/TracerPid:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}

suite('K05 faults that a test injects', needsStrace, () => {
  test('last until their scope ends, also for threads that begin meanwhile', async () => {
    await using folder = await temporaryFolder()
    const file = folder.of('file')
    await using writing = await startWriting(file)
    assert.equal(await writing.write(), 'written')
    {
      await using _ = await faulty(writing.pid, { calls: ['write'], paths: [file] }, 'EFBIG')
      for (let i = 0; i < 3; i++) assert.equal(await writing.write(), 'EFBIG')
    }
    assert.equal(await writing.write(), 'written')
  })

  test('fail the test if they ended before their scope', async () => {
    await using folder = await temporaryFolder()
    await using writing = await startWriting(folder.of('file'))
    const faults = await faulty(writing.pid, { calls: ['write'] }, 'EFBIG')
    process.kill(await tracerOf(writing.pid), 'SIGKILL')
    await assert.rejects(async () => faults[Symbol.asyncDispose](), /ended before their scope/)
  })
})
