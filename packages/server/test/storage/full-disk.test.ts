import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { suite, test } from 'node:test'
import { temporaryFolder } from '../world.ts'

const mounting = 'mount -t tmpfs -o size=8m none "$1" && shift && exec "$@"'
const mayMount = spawnSync('unshare', ['-rm', 'true']).status === 0

/** Runs a scenario of `full-disk-child.ts` on a disk of 8 MiB of its own. */
async function onSmallDisk(scenario: string): Promise<void> {
  await using folder = await temporaryFolder()
  const child = new URL('full-disk-child.ts', import.meta.url).pathname
  const command = ['-rm', 'sh', '-c', mounting, 'sh', folder.path, process.execPath, child, folder.path, scenario]
  const { status, stdout, stderr } = spawnSync('unshare', command, { encoding: 'utf8', timeout: 60_000 })
  assert.equal(status, 0, stdout + stderr)
}

suite('K05 a full disk', { skip: mayMount ? false : 'needs unshare -rm, for a small disk' }, () => {
  test('refuses what is new, goes on reading, stores nothing by halves, and recovers by itself', () =>
    onSmallDisk('messages'))
  test('refuses a large content and leaves nothing of it', () => onSmallDisk('contents'))
  test('refuses a step with all that build on it, and goes on when there is space again', () => onSmallDisk('archive'))
  test('refuses to start with the reason, and starts when there is space again', () => onSmallDisk('start'))
})
