import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Notice } from '@messageu/protocol/v3'
import { tellChanges } from '../../src/v3/notices.ts'
import { OpenSessions } from '../../src/v3/open-sessions.ts'
import type { Account, Directory, Session } from '../../src/v3/services.ts'
import { type Known, People } from './listening.ts'

function startTelling(acquaintances: (of: Account) => Promise<readonly Account[]>) {
  const people = new People()
  const sessions = new OpenSessions()
  const heard: [Known, Notice][] = []
  const failures: unknown[] = []
  let packagesLow: Parameters<Directory['onPackagesLow']>[0] | undefined
  const directory: Directory = {
    ...people.directory,
    onPackagesLow: (listener) => {
      packagesLow = listener
    },
  }
  tellChanges({ directory, conversations: { acquaintances }, sessions, failed: (_, error) => failures.push(error) })
  return {
    people,
    heard,
    failures,
    packagesLow: (known: Known) => packagesLow?.(known.device, { singleUse: 2, hasLastResort: true }),
    online(known: Known) {
      const session = { device: known.device, notice: (notice: Notice) => heard.push([known, notice]) }
      sessions.enter(session as unknown as Session) // all that it is asked for here
    },
  }
}

suite('open sessions are told', () => {
  test('that a list has grown, if it is their own or of somebody whom they share a conversation with', async () => {
    const world = startTelling(async () => [bob.account])
    const [alice, bob, carol] = [world.people.add(), world.people.add(), world.people.add()]
    for (const known of [alice, bob, carol]) world.online(known)
    world.people.disable(alice) // any change of the directory
    await turn()
    const { id: account, list } = alice.account
    const notice = { kind: 'list-changed', body: { account, version: list.version, hash: list.hash } }
    assert.deepEqual(world.heard, [
      [alice, notice],
      [bob, notice],
    ])
  })

  test('that their key packages run low', () => {
    const world = startTelling(async () => [])
    const [alice, bob] = [world.people.add(), world.people.add()]
    world.online(alice)
    for (const known of [alice, bob]) world.packagesLow(known)
    assert.deepEqual(world.heard, [[alice, { kind: 'key-packages-low', body: { singleUse: 2, hasLastResort: true } }]])
  })

  test('as far as it can be found out; what cannot is for the log', async () => {
    const world = startTelling(() => Promise.reject(new Error('the disk')))
    const alice = world.people.add()
    world.online(alice)
    world.people.disable(alice)
    await turn()
    assert.equal(world.heard.length, 1)
    assert.match(String(world.failures[0]), /the disk/)
  })
})
