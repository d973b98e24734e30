import assert from 'node:assert/strict'
import { execFile, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { newWords, Secret } from '@messageu/e2ee'
import { openProfile } from '../../src/node/profile.ts'
import { SqliteStore } from '../../src/node/sqlite-store.ts'
import { register } from '../../src/registering.ts'
import { openSession } from '../../src/session.ts'
import { until } from '../fake-clock.ts'
import { someConversation } from '../fake-server.ts'
import { never, random, TestWorld } from '../world.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const passphrase = new Secret(text('correct horse'))

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'messageu-profile-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** A profile with one row of each kind, closed again. */
async function filled(folder: string): Promise<void> {
  await using profile = await openProfile(folder)
  await profile.store.commit(
    [
      { table: 'pins', key: text('canary-name'), value: text('canary-value') },
      { table: 'outbox', key: 7, value: text('canary-outbox') },
    ],
    0,
  )
}

const modeOf = async (file: string): Promise<number> => (await stat(file)).mode & 0o777

describe('a profile', () => {
  test('K12: folder and files are for their owner alone, whatever the umask', () =>
    inFolder(async (folder) => {
      const before = process.umask(0)
      try {
        const profile = path.join(folder, 'deep', 'profile')
        await using opened = await openProfile(profile)
        await opened.store.commit([], 0)
        assert.equal(await modeOf(profile), 0o700)
        const names = await readdir(profile)
        assert.ok(names.includes('profile.db-wal'))
        for (const name of names) assert.equal(await modeOf(path.join(profile, name)), 0o600, name)
      } finally {
        process.umask(before)
      }
    }))

  for (const name of ['profile.key', 'profile.db', 'profile.db-wal', 'lock', 'owner'])
    test(`K12: a link in place of ${name} is refused`, () =>
      inFolder(async (folder) => {
        const target = path.join(folder, 'target')
        await writeFile(target, '', { mode: 0o600 })
        const profile = path.join(folder, 'profile')
        await mkdir(profile, { mode: 0o700 })
        await symlink(target, path.join(profile, name))
        await assert.rejects(openProfile(profile), { reason: 'insecure-file' })
        assert.equal((await readFile(target)).length, 0)
      }))

  test('K12: a linked folder, a folder that others may write to and a key that others may read are refused', () =>
    inFolder(async (folder) => {
      const profile = path.join(folder, 'profile')
      await filled(profile)
      await symlink(profile, path.join(folder, 'link'))
      await assert.rejects(openProfile(path.join(folder, 'link')), { reason: 'insecure-file' })
      await chmod(path.join(profile, 'profile.key'), 0o644)
      await assert.rejects(openProfile(profile), { reason: 'insecure-file' })
      await chmod(path.join(profile, 'profile.key'), 0o600)
      await chmod(profile, 0o777)
      await assert.rejects(openProfile(profile), { reason: 'insecure-file' })
    }))

  test('K08: a second one on the same profile is told whose it is, in this process and in another', () =>
    inFolder(async (folder) => {
      {
        await using _profile = await openProfile(folder)
        const owner = { reason: 'in-use', message: new RegExp(`process ${process.pid} on `) }
        await assert.rejects(openProfile(folder), owner)
        await assert.rejects(openProfile(folder), owner, 'the first refusal did not free the lock')
        const script = fileURLToPath(new URL('holder.ts', import.meta.url))
        const { stdout } = await promisify(execFile)(process.execPath, [script, folder])
        assert.match(stdout, new RegExp(`in-use .*process ${process.pid} on `))
      }
      await using _again = await openProfile(folder)
    }))

  test('K08: the lock of a process that was killed is free', () =>
    inFolder(async (folder) => {
      const child = fork(fileURLToPath(new URL('holder.ts', import.meta.url)), [folder], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      })
      await once(child, 'message')
      await assert.rejects(openProfile(folder), { reason: 'in-use', message: new RegExp(`process ${child.pid} on `) })
      child.kill('SIGKILL')
      await once(child, 'exit')
      await using profile = await openProfile(folder)
      assert.deepEqual(await profile.store.get('content', text('key')), text('value'), 'and what it stored is there')
    }))

  test('I4: neither names nor values nor the key lie open on the disk', () =>
    inFolder(async (folder) => {
      await using profile = await openProfile(folder, { passphrase })
      await profile.store.commit(
        [
          { table: 'pins', key: text('canary-name'), value: text('canary-value') },
          { table: 'outbox', key: 7, value: text('canary-outbox') },
        ],
        0,
      )
      for (const name of await readdir(folder)) {
        const bytes = await readFile(path.join(folder, name))
        assert.equal(bytes.includes('canary'), false, name)
      }
    }))

  test('what was deleted is gone from the files when the profile is closed', () =>
    inFolder(async (folder) => {
      const file = path.join(folder, 'plain.db')
      const key = new Secret(new Uint8Array(32))
      let sealed: Uint8Array
      {
        await using store = await SqliteStore.open(file, key)
        await store.commit([{ table: 'content', key: text('key'), value: text('value') }], 0)
      }
      {
        using database = new DatabaseSync(file, { readOnly: true })
        const row = database.prepare('SELECT sealed FROM rows').get()
        assert.ok(row?.sealed instanceof Uint8Array)
        sealed = row.sealed
      }
      assert.ok((await readFile(file)).includes(Buffer.from(sealed)))
      {
        await using store = await SqliteStore.open(file, key)
        await store.commit([{ table: 'content', key: text('key'), value: undefined }], 1)
      }
      assert.equal((await readFile(file)).includes(Buffer.from(sealed)), false)
    }))

  test('a passphrase opens what it closed, a wrong one is told from damage, and it can be changed', () =>
    inFolder(async (folder) => {
      {
        await using profile = await openProfile(folder, { passphrase })
        await profile.store.commit([{ table: 'pins', key: text('a'), value: text('b') }], 0)
      }
      await assert.rejects(openProfile(folder), { reason: 'passphrase-needed' })
      await assert.rejects(openProfile(folder, { passphrase: new Secret(text('incorrect horse')) }), {
        reason: 'wrong-passphrase',
      })
      {
        await using profile = await openProfile(folder, { passphrase })
        assert.deepEqual(await profile.store.get('pins', text('a')), text('b'))
        await profile.setPassphrase(undefined)
      }
      await assert.rejects(openProfile(folder, { passphrase }), { reason: 'wrong-passphrase' })
      await using profile = await openProfile(folder)
      assert.deepEqual(await profile.store.get('pins', text('a')), text('b'))
    }))

  test('a key file that asks for more memory than there is, is not obeyed', () =>
    inFolder(async (folder) => {
      {
        await using _profile = await openProfile(folder, { passphrase })
      }
      const file = path.join(folder, 'profile.key')
      const content = (await readFile(file)).subarray(0, -8)
      content.writeUInt32LE(0xffff_ffff, 2 + 1 + 16) // behind the format, the kind of protection and the salt
      const checksum = createHash('sha256').update(content).digest().subarray(0, 8)
      await writeFile(file, Buffer.concat([content, checksum]))
      await assert.rejects(openProfile(folder, { passphrase }), { reason: 'damaged' })
    }))

  test('an account and what it has not sent yet outlive the process', () =>
    inFolder(async (folder) => {
      const { server, world, clock } = await TestWorld.start()
      const sealed = { conversation: someConversation, generation: 1, epoch: 1, sealed: Uint8Array.of(9) }
      {
        await using profile = await openProfile(folder)
        const { store } = profile
        const words = newWords(random)
        await register({ link: server.link, name: 'alice', words, store, world, signal: never })
        await using session = await openSession({ store, world, signal: never })
        server.isReachable = false
        server.session.cut()
        await session.submitSealed({ operation: 'send', request: sealed }, { signal: never })
      }
      assert.equal(clock.nextMs, undefined, 'nothing is planned')
      server.isReachable = true
      await using profile = await openProfile(folder)
      await using session = await openSession({ store: profile.store, world, signal: never })
      assert.equal(session.account.identity.name, 'alice')
      await until(() => server.accepted.length === 1, 'it is accepted')
    }))

  test('K06: a flipped byte anywhere in the key file is damage, and nothing is deleted', () =>
    inFolder(async (folder) => {
      await filled(folder)
      const file = path.join(folder, 'profile.key')
      const bytes = await readFile(file)
      for (let at = 0; at < bytes.length; at++) {
        await writeFile(file, flipped(bytes, at))
        await assert.rejects(openProfile(folder), { reason: 'damaged' }, `byte ${at}`)
      }
      await writeFile(file, bytes.subarray(0, 5))
      await assert.rejects(openProfile(folder), { reason: 'damaged' })
      await rm(file)
      await assert.rejects(openProfile(folder), { reason: 'damaged' }, 'a new key would open nothing')
      assert.equal((await readdir(folder)).includes('profile.key'), false)
      await writeFile(file, bytes, { mode: 0o600 })
      await using profile = await openProfile(folder)
      assert.deepEqual(await profile.store.get('pins', text('canary-name')), text('canary-value'))
    }))

  test('K06: a flipped byte in the store is damage at the start or at the read, or was never used', () =>
    inFolder(async (folder) => {
      await filled(folder)
      const file = path.join(folder, 'profile.db')
      const bytes = await readFile(file)
      let noticed = 0
      for (let at = 0; at < bytes.length; at += 37) {
        await writeFile(file, flipped(bytes, at))
        if (await isDamaged(folder)) noticed += 1
        assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith('profile.')).length >= 2, true)
      }
      assert.ok(noticed > 10, `${noticed} flips were noticed`)
      await writeFile(file, bytes)
      assert.equal(await isDamaged(folder), false)
    }))

  for (const [what, sql] of Object.entries({
    'a flipped value': "UPDATE rows SET sealed = zeroblob(40) WHERE kind = 'pins'",
    'a row that has gone': "DELETE FROM rows WHERE kind = 'pins'",
    'a row under another name': "UPDATE rows SET name = zeroblob(16) WHERE kind = 'pins'",
    'a row with another number': "UPDATE rows SET name = x'0000000000000009' WHERE kind = 'outbox'",
    'a row of another table': "UPDATE rows SET kind = 'alarms' WHERE kind = 'pins'",
    'a row of another revision': "UPDATE rows SET revision = 0 WHERE kind = 'pins'",
    'a head that has gone': 'DELETE FROM head',
    'another head': 'UPDATE head SET sealed = zeroblob(80)',
  }))
    test(`K06: ${what} is damage at the start`, () =>
      inFolder(async (folder) => {
        await filled(folder)
        {
          using database = new DatabaseSync(path.join(folder, 'profile.db'))
          database.exec(sql)
        }
        await assert.rejects(openProfile(folder), { reason: 'damaged' })
      }))

  test('U03: a newer store and a newer key are left as they are', () =>
    inFolder(async (folder) => {
      await filled(folder)
      const file = path.join(folder, 'profile.db')
      {
        using database = new DatabaseSync(file)
        database.exec('PRAGMA user_version = 99')
      }
      const bytes = await readFile(file)
      await assert.rejects(openProfile(folder), { reason: 'newer-storage' })
      assert.deepEqual(await readFile(file), bytes)
    }))

  test('K05: without room a commit fails whole, reads go on, and it recovers', () =>
    inFolder(async (folder) => {
      const script = fileURLToPath(new URL('no-room.ts', import.meta.url))
      // in units of 1024 bytes; the signal that comes with it is ignored by Node, and the write fails
      const run = ['-c', 'ulimit -S -f 400; exec "$0" "$@"', process.execPath, script, folder]
      const { stdout } = await promisify(execFile)('bash', run)
      assert.deepEqual(JSON.parse(stdout), { reason: 'cannot-store', wasThere: true, isWhole: true, goesOn: true })
    }))
})

async function isDamaged(folder: string): Promise<boolean> {
  try {
    await using profile = await openProfile(folder)
    assert.deepEqual(await profile.store.get('pins', text('canary-name')), text('canary-value'))
    assert.deepEqual(await profile.store.get('outbox', 7), text('canary-outbox'))
    return false
  } catch (error) {
    assert.ok(error instanceof Error && 'reason' in error, String(error))
    assert.ok(error.reason === 'damaged' || error.reason === 'newer-storage', error.message)
    return true
  }
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 0x40
  return copy
}
