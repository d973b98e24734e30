import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, stat, symlink, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { suite, test } from 'node:test'
import { type AccountId, type AccountName, RefusedError } from '@messageu/protocol/v3'
import type { AdminServices } from '../../src/v3/admin-requests.ts'
import { adminSocketPath, NoAdminSocket, serveAdminSocket } from '../../src/v3/admin-socket.ts'
import type { Account } from '../../src/v3/services.ts'
import { temporaryFolder } from '../world.ts'
import { invite, random } from './listening.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

function person(number: number): Mutable<Account> {
  const name = `person ${String(number).padStart(4, '0')}` as AccountName
  const known = { number, id: random(32) as AccountId, name, devices: [], createdAt: 0 }
  return { ...known, isAdmin: false, isDisabled: false, quotaBytes: 5 } as unknown as Account // has no list: nobody asks
}

async function startAdmin({ people = [] as Mutable<Account>[] } = {}) {
  const temporary = await temporaryFolder()
  const failures: unknown[] = []
  const services: AdminServices = {
    directory: {
      accountByName: async (name) => people.find((each) => each.name === name),
      accountsAfter: async (name, limit) =>
        people.filter((each) => name === undefined || each.name > name).slice(0, limit),
      invite: async () => ({ invite: invite(), notAfter: Date.UTC(2026, 0, 1) }),
      async set(account, change) {
        if ('quotaBytes' in change && change.quotaBytes > 1e9) throw new RefusedError('storage-full', 'no room')
        Object.assign(account, change)
      },
    },
    conversations: { storedBytes: async () => 3 },
    linkWith: (secret) => `messageu://host/#${secret.length}`,
    stats: () => {
      if (people.length > 2000) throw new TypeError('a mistake')
      return { accounts: people.length }
    },
  }
  const socket = await serveAdminSocket(temporary.path, services, (error) => failures.push(error))
  return {
    folder: temporary.path,
    failures,
    people,
    async [Symbol.asyncDispose]() {
      await socket[Symbol.asyncDispose]()
      await temporary[Symbol.asyncDispose]()
    },
  }
}

/** Sends bytes and reads everything until the server's end. */
async function say(folder: string, text: string): Promise<Record<string, unknown>[]> {
  const socket = connect(adminSocketPath(folder))
  socket.setEncoding('utf8')
  let answer = ''
  socket.on('data', (piece) => {
    answer += String(piece)
  })
  socket.on('error', () => {})
  socket.write(text)
  await once(socket, 'end')
  socket.end()
  return answer
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

const ask = (folder: string, request: object) => say(folder, `${JSON.stringify({ v: 1, ...request })}\n`)

suite('the socket of the operator', () => {
  test('K12 is open to nobody else', async () => {
    await using admin = await startAdmin()
    const { mode } = await stat(adminSocketPath(admin.folder))
    assert.equal(mode & 0o777, 0o600)
    assert.equal(process.umask(), process.umask(process.umask()), 'and the umask is what it was')
  })

  test('takes the place of one that a killed server left, or of a link to somewhere else', async () => {
    await using temporary = await temporaryFolder()
    const elsewhere = path.join(temporary.path, 'elsewhere')
    await writeFile(elsewhere, 'mine')
    await symlink(elsewhere, adminSocketPath(temporary.path))
    const services = {} as AdminServices // nothing is asked
    await using _socket = await serveAdminSocket(temporary.path, services, () => {})
    assert((await stat(adminSocketPath(temporary.path))).isSocket())
    assert((await stat(elsewhere)).isFile())
  })

  test('cannot be in a folder whose path is too long for the system, and says so', async () => {
    await using temporary = await temporaryFolder()
    const long = path.join(temporary.path, 'x'.repeat(100))
    await mkdir(long)
    await assert.rejects(
      serveAdminSocket(long, {} as AdminServices, () => {}),
      NoAdminSocket,
    )
  })

  test('is gone after the end', async () => {
    const admin = await startAdmin()
    await admin[Symbol.asyncDispose]()
    await assert.rejects(stat(adminSocketPath(admin.folder)), { code: 'ENOENT' })
  })
})

suite('the operator', () => {
  test('gets an invite as a link', async () => {
    await using admin = await startAdmin()
    assert.deepEqual(await ask(admin.folder, { do: 'invite', isAdmin: true }), [
      { v: 1, event: 'invite', link: 'messageu://host/#16', isAdmin: true, notAfter: '2026-01-01T00:00:00.000Z' },
      { v: 1, event: 'done' },
    ])
  })

  test('sees every account once, however many there are', async () => {
    const people = Array.from({ length: 250 }, (_, i) => person(i + 1))
    await using admin = await startAdmin({ people })
    const events = await ask(admin.folder, { do: 'accounts' })
    assert.deepEqual(events.pop(), { v: 1, event: 'done' })
    assert.deepEqual(
      events.map(({ name }) => name),
      people.map(({ name }) => name),
    )
    assert.deepEqual(events[0], {
      v: 1,
      event: 'account',
      name: 'person 0001',
      account: Buffer.from(people[0]?.id ?? []).toString('base64url'),
      isAdmin: false,
      isDisabled: false,
      devices: 0,
      storedBytes: 3,
      quotaBytes: 5,
      createdAt: '1970-01-01T00:00:00.000Z',
    })
  })

  test('sets a quota, blocks, and lets in again', async () => {
    await using admin = await startAdmin({ people: [person(1)] })
    const name = 'person 0001'
    assert.equal((await ask(admin.folder, { do: 'quota', name, bytes: 77 }))[0]?.quotaBytes, 77)
    assert.equal((await ask(admin.folder, { do: 'block', name, isDisabled: true }))[0]?.isDisabled, true)
    assert.equal((await ask(admin.folder, { do: 'block', name, isDisabled: false }))[0]?.isDisabled, false)
    assert.equal((await ask(admin.folder, { do: 'quota', name, bytes: 2e9 }))[0]?.reason, 'storage-full')
  })

  test('sees counts', async () => {
    await using admin = await startAdmin({ people: [person(1)] })
    assert.deepEqual((await ask(admin.folder, { do: 'stats' }))[0], { v: 1, event: 'stats', counts: { accounts: 1 } })
  })

  const mistakes: [string, string, string][] = [
    ['no JSON', 'hello\n', 'malformed'],
    ['no object', '[]\n', 'malformed'],
    ['null', 'null\n', 'malformed'],
    ['another version', '{"v":2,"do":"stats"}\n', 'malformed'],
    ['nothing known', '{"v":1,"do":"__proto__"}\n', 'unknown-code'],
    ['a word too few', '{"v":1,"do":"invite"}\n', 'malformed'],
    ['a quota below nothing', '{"v":1,"do":"quota","name":"person 0001","bytes":-1}\n', 'malformed'],
    ['a quota that is a text', '{"v":1,"do":"quota","name":"person 0001","bytes":"1"}\n', 'malformed'],
    ['a name that is none', '{"v":1,"do":"block","name":"../x","isDisabled":true}\n', 'bad-name'],
    ['a name that nobody has', '{"v":1,"do":"block","name":"nobody","isDisabled":true}\n', 'not-permitted'],
    ['a line without an end', 'x'.repeat(5000), 'malformed'],
    ['a line beyond measure', `{"v":1,"do":"stats","x":"${'x'.repeat(5000)}"}\n`, 'malformed'],
  ]
  for (const [what, line, reason] of mistakes)
    test(`is told what is wrong with ${what}`, async () => {
      await using admin = await startAdmin({ people: [person(1)] })
      const [event] = await say(admin.folder, line)
      assert.equal(event?.event, 'refused')
      assert.equal(event?.reason, reason)
      assert.equal(admin.people[0]?.isDisabled, false)
      assert.deepEqual(admin.failures, [])
    })

  test('is not told the details of a mistake of ours, which are for the log', async () => {
    await using admin = await startAdmin({ people: Array.from({ length: 2001 }, (_, i) => person(i)) })
    const [event] = await ask(admin.folder, { do: 'stats' })
    assert.equal(event?.reason, 'internal')
    assert.match(String(admin.failures[0]), /a mistake/)
  })
})
