/** What a traced server writes, syncs and answers, and in which order. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { ServerProcess, temporaryFolder } from './serverProcess.ts'
import { bytesOf, type Call, readTrace } from './strace.ts'

const calls = ['pwrite64', 'pwritev', 'write', 'writev', 'fsync', 'fdatasync', 'rename', 'renameat', 'renameat2']

/** Runs `work` against a traced server and returns what the server did. */
export async function traced(work: (server: ServerProcess) => Promise<void>): Promise<Call[]> {
  await using temporary = await temporaryFolder('memory')
  const output = temporary.of('trace')
  {
    await using server = await ServerProcess.start({
      folder: temporary.of('data'),
      tracing: { calls, output, buffers: true },
      flags: ['--log-level', 'error'],
    })
    await work(server)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
  }
  return readTrace(await readFile(output, 'utf8'))
}

const on = (file: string) => (call: Call) => call.text.includes(`${file}>`)
export const isSync = ({ name }: Call): boolean => name === 'fsync' || name === 'fdatasync'
export const onLog = on('/server.db-wal')
const isWrite = ({ name }: Call): boolean => name.startsWith('pwrite')

/** The frame header that ends a transaction: the database's new size stands in it (sqlite.org/fileformat2.html). */
function endsTransaction(call: Call): boolean {
  const header = bytesOf(call)
  return isWrite(call) && onLog(call) && header.length === 24 && header.readUInt32BE(4) !== 0
}

/** What first left by a socket and is so. */
export function leaving(trace: readonly Call[], isIt: (bytes: Buffer) => boolean): Call {
  const found = trace.find(
    (call) => call.name.startsWith('write') && /<(socket|TCP)/.test(call.text) && isIt(bytesOf(call)),
  )
  assert(found !== undefined, 'it is in the trace')
  return found
}

/** Asserts that what holds `canary` was in the log, committed and synced before `answer` left. Returns its sync. */
export function assertSyncedBefore(trace: readonly Call[], canary: Uint8Array, answer: Call): Call {
  const row = trace.find((call) => isWrite(call) && onLog(call) && bytesOf(call).includes(Buffer.from(canary)))
  assert(row !== undefined, 'the row is in the log')
  // the header stands in front of its page
  const commit = trace.find((call) => endsTransaction(call) && call.ended >= row.began - 2)
  assert(commit !== undefined, 'the row is committed')
  const sync = trace.find((call) => isSync(call) && onLog(call) && call.began > commit.ended && call.began > row.ended)
  assert(sync !== undefined && sync.result === '0', 'the commit is synced')
  assert(sync.ended < answer.began, `the answer left at ${answer.began}, the sync ended at ${sync.ended}`)
  return sync
}

/** Asserts that a file of contents was synced, named, and its folder synced, before `commit`. */
export function assertNamedBefore(trace: readonly Call[], incoming: string, commit: Call): void {
  const file = `/content/incoming/${incoming}`
  const lastWrite = trace.findLast((call) => isWrite(call) && on(file)(call))
  const datasync = trace.find((call) => isSync(call) && on(file)(call) && call.began > (lastWrite?.ended ?? 0))
  const rename = trace.find(({ name, text }) => name.startsWith('rename') && decoded(text).includes(file))
  const folder = trace.find((call) => isSync(call) && on('/content')(call) && call.began > (rename?.ended ?? 0))
  assert(lastWrite && datasync && rename && folder, 'all of it happens')
  assert(datasync.ended < rename.began && folder.ended < commit.began)
}

function decoded(text: string): string {
  return text.replace(/(?:\\x[0-9a-f]{2})+/g, (escaped) => Buffer.from(escaped.replaceAll('\\x', ''), 'hex').toString())
}
