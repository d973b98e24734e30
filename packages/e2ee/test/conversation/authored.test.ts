import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { type Header, Message } from '../../src/conversation/authored-bytes.ts'
import { encodeContent } from '../../src/conversation/content.ts'
import { proveAuthorship, verifyAuthorship } from '../../src/conversation/index.ts'
import { Room, type Somebody, World } from './world.ts'

async function said(label: string) {
  const world = new World(label)
  const [alice, bob] = [await world.person('alice'), await world.person('bob')]
  const room = await Room.of(world, alice.phone, [bob.phone])
  const opened = await room.open(bob.phone, await room.say(alice.phone, 'I owe you ten'))
  assert.ok(opened.kind === 'opened')
  return { world, alice, bob, authored: opened.message.authored }
}

describe('X12: a proof of authorship', () => {
  test('convinces somebody who was not there of author, time and text', async () => {
    const { alice, authored } = await said('proof')
    const proven = await verifyAuthorship(proveAuthorship(authored, alice.entries))
    assert.deepEqual(proven.account, alice.account.id)
    assert.equal(proven.list.name, 'alice')
    assert.deepEqual(proven.content, { kind: 'text', body: { text: 'I owe you ten' } })
    assert.deepEqual(proven.header.device, alice.phone.self.device)
  })

  test('still holds when the device has left its list since', async () => {
    const { world, alice, authored } = await said('later')
    await world.device(alice)
    await world.delist(alice.phone)
    const proven = await verifyAuthorship(proveAuthorship(authored, alice.entries))
    assert.equal(proven.list.version, 1, 'the list is the one that the message was written under')
  })

  test('fails when the text, the time, the id or the author was altered', async () => {
    const { alice, bob, authored } = await said('altered')
    const { header, content } = decode(Message, authored.message)
    const forged = (changed: { header?: Partial<Header>; content?: Uint8Array }, author: Somebody = alice) =>
      proveAuthorship(
        {
          ...authored,
          message: encode(Message, { header: { ...header, ...changed.header }, content: changed.content ?? content }),
        },
        author.entries,
      )
    const text = encodeContent({ kind: 'text', body: { text: 'I owe you one' } })
    const { device } = bob.phone.self
    const list = { version: 1, hash: bob.lists[0]?.hash ?? header.list.hash }
    const cases = [
      forged({ content: text }),
      forged({ header: { clock: header.clock + 1 } }),
      forged({ header: { group: { ...header.group, generation: 2 } } }),
      forged({ header: { device } }),
      forged({ header: { device, list } }, bob),
      forged({}, bob),
      forged({ header: { list: { ...header.list, version: 2 } } }),
    ]
    for (const proof of cases) await assert.rejects(verifyAuthorship(proof), { reason: 'unproved' })
    assert.ok(await verifyAuthorship(forged({})))
  })

  test('fails when any byte of it was changed', async () => {
    const { alice, authored } = await said('bytes')
    const proof = proveAuthorship(authored, alice.entries)
    for (let at = 0; at < proof.length; at += 3)
      await assert.rejects(verifyAuthorship(proof.with(at, (proof[at] ?? 0) ^ 4)), { reason: 'unproved' })
  })
})
