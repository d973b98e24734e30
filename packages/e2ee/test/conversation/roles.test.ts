import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { compareBytes } from '../../src/bytes.ts'
import { rulesExtension } from '../../src/conversation/extensions.ts'
import type { ConversationRules } from '../../src/conversation/shared.ts'
import { forgeCommit, tampered } from './forge.ts'
import { refusedByAll } from './refusal.ts'
import { Room, World } from './world.ts'

/** A group of alice, who owns it, bob and carol; mallory is not in it. */
async function group(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const mallory = await world.person('mallory')
  const room = await Room.of(world, alice.phone, [bob.phone, carol.phone])
  return { room, alice, bob, carol, mallory }
}

const ruling = (rules: ConversationRules) =>
  ({ proposalType: 'group_context_extensions', groupContextExtensions: { extensions: rulesExtension(rules) } }) as const

describe('S16: an owner cannot', () => {
  test('leave a group without an owner', async () => {
    const { room, alice } = await group('no owner')
    const proposals = [ruling({ kind: 'group', owners: [], invited: [] })]
    await refusedByAll(room, alice.phone, await forgeCommit(room, alice.phone, { proposals }), 'forbidden')
  })

  test('make somebody an owner who is not here', async () => {
    const { room, alice, mallory } = await group('owner elsewhere')
    const owners = [alice.account.id, mallory.account.id].toSorted(compareBytes)
    const proposals = [ruling({ kind: 'group', owners, invited: [] })]
    await refusedByAll(room, alice.phone, await forgeCommit(room, alice.phone, { proposals }), 'forbidden')
  })

  test('let everybody bring in an account, by a change of roles', async () => {
    const { room, alice, mallory } = await group('invited')
    const proposals = [ruling({ kind: 'group', owners: [alice.account.id], invited: [mallory.account.id] })]
    await refusedByAll(room, alice.phone, await forgeCommit(room, alice.phone, { proposals }), 'forbidden')
  })

  test('make a group a conversation of another kind', async () => {
    const { room, alice } = await group('kind')
    for (const kind of ['direct', 'self', 'own-devices'] as const) {
      const proposals = [ruling({ kind, owners: [alice.account.id], invited: [] })]
      await refusedByAll(room, alice.phone, await forgeCommit(room, alice.phone, { proposals }), 'forbidden')
    }
  })

  test('change roles and members in one commit, in whatever order', async () => {
    const { room, alice, bob } = await group('roles and members')
    const rules = ruling({ kind: 'group', owners: [bob.account.id], invited: [] })
    const removal = { proposalType: 'remove', remove: { removed: 2 } } as const
    for (const pair of [
      [rules, removal],
      [removal, rules],
      [rules, rules],
    ]) {
      const proposals = pair.map((proposal) => ({ proposalOrRefType: 'proposal', proposal }) as const)
      const forged = await tampered(room, alice.phone, (commit) => ({ commit: { ...commit, proposals } }))
      await refusedByAll(room, alice.phone, forged, 'forbidden')
    }
    assert.equal(room.agreed().members.length, 3)
  })
})
