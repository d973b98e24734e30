import assert from 'node:assert/strict'
import { applyCommit, type ConversationReason } from '../../src/conversation/index.ts'
import type { Forged } from './forge.ts'
import type { Room, TestDevice } from './world.ts'

/** Everybody else refuses it for the same reason, and is where they were before. */
export async function refusedByAll(room: Room, by: TestDevice, forged: Forged, reason: ConversationReason) {
  const before = room.agreed()
  assert.ok([...room.seats.keys()].some((device) => device !== by))
  for (const device of room.seats.keys()) {
    if (device === by) continue
    const applied = await applyCommit(room.state(device), room.arrived(by, forged), { lists: room.world.lists })
    assert.ok(applied.kind === 'stuck', applied.kind)
    assert.equal(applied.reason, reason, applied.explanation)
  }
  assert.deepEqual(room.agreed(), before)
  if (!room.seats.has(by)) return
  for (const reader of room.seats.keys())
    if (reader !== by) assert.equal(await room.read(reader, await room.say(by, 'still here')), 'still here')
}
