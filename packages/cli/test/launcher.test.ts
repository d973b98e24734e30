import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { sourceLauncher as launcher } from './launcher.ts'

const run = promisify(execFile)

/** A Node on this machine that is too old for the program, if there is one. */
async function oldNode(): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const candidate = join(folder, 'node')
    const version = await run(candidate, ['-p', 'process.versions.node']).catch(() => undefined)
    const [major = 0, minor = 0] = (version?.stdout ?? '99').split('.').map(Number)
    if (major < 24 || (major === 24 && minor < 15)) return candidate
  }
  return undefined
}

const old = await oldNode()
const skip = old === undefined && 'there is no older Node here'

test('an older Node continues on the one beside the program', { skip }, async () => {
  const { stdout } = await run(old ?? '', [launcher, '--version'])
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})

test('an older Node passes the exit code on', { skip }, async () => {
  await assert.rejects(run(old ?? '', [launcher, 'nonsense']), { code: 2 })
})

test('an older Node without a newer one beside it says what it needs, and ends with 1', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'messageu-launcher-'))
  t.after(() => rm(folder, { recursive: true }))
  await copyFile(launcher, join(folder, 'messageu.mjs'))
  const failing = run(old ?? '', [join(folder, 'messageu.mjs')])
  await assert.rejects(failing, {
    code: 1,
    stderr: /needs Node 24\.15 or newer, but this is Node \d+\.\d+\.\d+\ntry: /,
  })
})

test('an older Node does not take itself for the newer one', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'messageu-launcher-'))
  t.after(() => rm(folder, { recursive: true }))
  await mkdir(join(folder, 'node_modules', '.bin'), { recursive: true })
  await symlink(old ?? '', join(folder, 'node_modules', '.bin', 'node'))
  await copyFile(launcher, join(folder, 'messageu.mjs'))
  await assert.rejects(run(old ?? '', [join(folder, 'messageu.mjs')]), { code: 1 })
})

for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const)
  test(`an older Node passes ${signal} on, and ends as the program did`, { skip }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'messageu-launcher-'))
    t.after(() => rm(folder, { recursive: true }))
    await mkdir(join(folder, 'bin'))
    await mkdir(join(folder, 'src'))
    await mkdir(join(folder, 'node_modules', '.bin'), { recursive: true })
    await symlink(process.execPath, join(folder, 'node_modules', '.bin', 'node'))
    await writeFile(join(folder, 'package.json'), '{"type":"module"}')
    await copyFile(launcher, join(folder, 'bin', 'messageu.js'))
    await writeFile(join(folder, 'src', 'main.ts'), "setInterval(() => {}, 1000)\nprocess.stdout.write('ready')\n")
    const child = spawn(old ?? '', [join(folder, 'bin', 'messageu.js')], { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    child.kill(signal)
    assert.deepEqual(await once(child, 'exit'), [null, signal])
  })

test('compiled code is kept in a folder of the user', async (t) => {
  const cache = await mkdtemp(join(tmpdir(), 'messageu-cache-'))
  t.after(() => rm(cache, { recursive: true }))
  const env = { ...process.env, NODE_COMPILE_CACHE: undefined, XDG_CACHE_HOME: cache } // where the tests keep it
  await run(process.execPath, [launcher, '--version'], { env })
  assert.ok((await readdir(join(cache, 'messageu', 'compiled'))).length > 0)
})
