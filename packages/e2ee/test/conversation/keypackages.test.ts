import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { encodeMlsMessage, type KeyPackage } from 'ts-mls'
import { signKeyPackage } from 'ts-mls/keyPackage.js'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { packageExtensions } from '../../src/conversation/extensions.ts'
import { readKeyPackage } from '../../src/conversation/handshakes.ts'
import { newKeyPackage, stageCommit } from '../../src/conversation/index.ts'
import { judgeKeyPackage } from '../../src/conversation/offeredpackages.ts'
import { addInTheNameOf, longLivedPackage } from './forge.ts'
import { newest, now, packageOf, Room, World } from './world.ts'

const day = 86_400_000

async function people(label: string) {
  const world = new World(label)
  return { world, alice: await world.person('alice'), bob: await world.person('bob') }
}

const bytesOf = (keyPackage: KeyPackage) =>
  encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage })

describe('S08: a key package', () => {
  test('is good from a day before it was made, for clocks differ, until ninety days after', async () => {
    const { bob } = await people('time')
    const { keyPackage, notAfter } = await packageOf(bob.phone, 'x25519')
    const judged = (at: number) => judgeKeyPackage(keyPackage, { lists: [newest(bob)], suite: 'x25519', now: at })
    assert.equal(notAfter, now + 90 * day)
    for (const at of [now - 2 * day, now, notAfter]) assert.ok(await judged(at))
    for (const at of [now - 2 * day - 1, notAfter + 1]) await assert.rejects(judged(at), { reason: 'expired' })
  })

  test('that would live longer is refused', async () => {
    const { bob } = await people('long')
    const wanted = { suite: 'x25519', now } as const
    const keyPackage = await longLivedPackage(bob.phone.self, newest(bob), wanted)
    await assert.rejects(judgeKeyPackage(keyPackage, { ...wanted, lists: [newest(bob)] }), { reason: 'long-lived' })
  })

  test('of another account, another suite, or a device that is not listed is refused', async () => {
    const { world, alice, bob } = await people('wrong')
    const { keyPackage } = await packageOf(bob.phone, 'x25519')
    const wanted = { lists: [newest(bob)], suite: 'x25519', now } as const
    await assert.rejects(judgeKeyPackage(keyPackage, { ...wanted, lists: [newest(alice)] }), {
      reason: 'other-account',
    })
    await assert.rejects(judgeKeyPackage(keyPackage, { ...wanted, suite: 'x-wing' }), { reason: 'other-suite' })
    const tablet = await world.device(bob)
    const ofTablet = await packageOf(tablet, 'x25519')
    await world.delist(tablet)
    await assert.rejects(judgeKeyPackage(ofTablet.keyPackage, { ...wanted, lists: [newest(bob)] }), { reason: 'list' })
    await assert.rejects(newKeyPackage(tablet.self, newest(bob), { suite: 'x25519', now }), { reason: 'list' })
    const impostor = await addInTheNameOf(bob, alice.phone)
    assert.ok(impostor.proposalType === 'add')
    const claimed = bytesOf(impostor.add.keyPackage)
    await assert.rejects(judgeKeyPackage(claimed, { ...wanted, lists: [newest(bob)] }), { reason: 'list' })
  })

  test('made on another history of the list is refused', async () => {
    const { world, bob } = await people('history')
    const { keyPackage } = await packageOf(bob.phone, 'x25519')
    await world.device(bob)
    const list = newest(bob)
    const [first, ...later] = list.hashes
    assert.ok(first)
    const forked = { ...list, hashes: [first.map((byte) => byte ^ 1) as typeof first, ...later] }
    const wanted = { suite: 'x25519', now } as const
    await assert.rejects(judgeKeyPackage(keyPackage, { ...wanted, lists: [forked] }), { reason: 'list' })
    assert.ok(await judgeKeyPackage(keyPackage, { ...wanted, lists: [list] }))
  })

  test('whose signatures do not hold is refused', async () => {
    const { alice, bob } = await people('signatures')
    const { keyPackage } = await packageOf(bob.phone, 'x25519')
    const read = readKeyPackage(keyPackage)
    const wanted = { lists: [newest(bob)], suite: 'x25519', now } as const
    const { signature } = await cryptoOf('x25519')
    const longer = { ...read, extensions: packageExtensions({ notBefore: now, notAfter: now + day }, false) }
    const bySomebody = await signKeyPackage(longer, alice.phone.self.signatureSeed.reveal(), signature)
    const cases = [
      longer,
      bySomebody,
      await signKeyPackage(
        { ...read, leafNode: { ...read.leafNode, signature: new Uint8Array(64) } },
        bob.phone.self.signatureSeed.reveal(),
        signature,
      ),
    ]
    for (const forged of cases)
      await assert.rejects(judgeKeyPackage(bytesOf(forged), wanted), { reason: 'unverifiable' })
    const byOwner = await signKeyPackage(longer, bob.phone.self.signatureSeed.reveal(), signature)
    assert.ok(await judgeKeyPackage(bytesOf(byOwner), wanted))
  })

  test('of which a byte was changed is refused, and so is what is none', async () => {
    const { bob } = await people('bytes')
    const { keyPackage } = await packageOf(bob.phone, 'x25519')
    const wanted = { lists: [newest(bob)], suite: 'x25519', now } as const
    for (let at = 0; at < keyPackage.length; at++)
      await assert.rejects(judgeKeyPackage(keyPackage.with(at, (keyPackage[at] ?? 0) ^ 1), wanted))
    for (const none of [new Uint8Array(), Uint8Array.of(...keyPackage, 0), keyPackage.slice(0, -1)])
      await assert.rejects(judgeKeyPackage(none, wanted), { reason: 'malformed' })
  })

  test('is used once in a commit, and not for a device that is here already', async () => {
    const { world, alice, bob } = await people('once')
    const room = await Room.of(world, alice.phone, [])
    const { keyPackage } = await packageOf(bob.phone, 'x25519')
    const options = { ...world.sending(alice.phone), lists: world.newestLists, now }
    const add = (...keyPackages: Uint8Array[]) =>
      stageCommit(room.state(alice.phone), alice.phone.self, { kind: 'add', keyPackages }, options)
    await assert.rejects(add(keyPackage, keyPackage), { reason: 'forbidden' })
    await room.add(alice.phone, [bob.phone])
    await assert.rejects(add(keyPackage), { reason: 'forbidden' })
  })
})
