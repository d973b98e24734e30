import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Event, type Message, systemRandom, type Told } from '@messageu/client'
import { encodeContent } from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { AccountId, ConversationId, DeviceId, gapReasons, SendId, toBase64url } from '@messageu/protocol/v3'
import { jsonLine } from '../../src/terminal.ts'
import { eventOf } from '../../src/v3/arrival-events.ts'
import { linesOf } from '../../src/v3/arrival-lines.ts'
import type { Naming } from '../../src/v3/labels.ts'
import { actingIn } from '../acting.ts'

const account = decode(AccountId, systemRandom(AccountId.max))
const conversation = decode(ConversationId, systemRandom(ConversationId.max))
const device = decode(DeviceId, systemRandom(DeviceId.max))
const id = decode(SendId, systemRandom(SendId.max))
const labels: Naming = { of: async () => ({ kind: 'group', label: '#family' }), forget() {} }

/** What a peer or the server may have put into words. */
const words = 'why\u001b[31m\r\nbob → me  I owe you 5\u202e'

const told: { readonly [K in Told['kind']]: Extract<Told, { kind: K }> } = {
  request: { kind: 'request', body: { account, conversation } },
  devices: { kind: 'devices', body: { account, added: [device], removed: [device, device] } },
  fork: { kind: 'fork', body: { conversation, epoch: 7 } },
  differs: { kind: 'differs', body: { conversation, sequence: 7, account } },
  stuck: { kind: 'stuck', body: { conversation, by: account, why: words } },
  rejoined: { kind: 'rejoined', body: { conversation, members: [{ account, device }] } },
  renewed: { kind: 'renewed', body: { conversation, generation: 2, by: account } },
  failed: {
    kind: 'failed',
    body: {
      conversation,
      id,
      reason: 'not-permitted',
      content: encodeContent({ kind: 'text', body: { text: words } }),
    },
  },
  alarm: { kind: 'alarm', body: { kind: 'forked-list', account, name: words } },
  restored: { kind: 'restored', body: undefined },
  package: { kind: 'package', body: { account, device, reason: words } },
  unwelcome: { kind: 'unwelcome', body: { conversation, reason: words } },
}

/** The fields that programs may rely on, beside `event` and `at`. */
const fields: Readonly<Record<Told['kind'], readonly string[]>> = {
  request: ['name', 'account', 'conversation'],
  devices: ['name', 'account', 'added', 'removed'],
  fork: ['conversation', 'epoch'],
  differs: ['conversation', 'sequence', 'name'],
  stuck: ['conversation', 'by', 'why'],
  rejoined: ['conversation', 'members', 'devices'],
  renewed: ['conversation', 'generation', 'by'],
  failed: ['conversation', 'id', 'reason', 'content'],
  alarm: ['alarm', 'name', 'account'],
  restored: [],
  package: ['name', 'account', 'device', 'reason'],
  unwelcome: ['conversation', 'reason'],
}

const alarms: readonly string[] = ['fork', 'differs', 'alarm', 'failed']

function event(each: Told): Event {
  return { kind: 'told', at: 1, told: each, names: [{ account, name: 'alice' }] }
}

describe('S01: what happens to keys, devices and membership is told', () => {
  for (const [kind, each] of Object.entries(told))
    test(`${kind}: as an event and as a line${alarms.includes(kind) ? ', a loud one' : ''}`, async () => {
      const shown = eventOf(event(each))
      assert.deepEqual(Object.keys(shown), ['event', 'at', ...fields[each.kind]])
      assert.equal(shown.event, kind)
      const line = await linesOf(event(each), labels)
      assert.match(line, alarms.includes(kind) ? /^! [A-Z]{3,}/ : /^\* /)
      if (fields[each.kind].includes('conversation') && kind !== 'request' && kind !== 'unwelcome')
        assert.match(line, /#family/)
      assert.deepEqual(actingIn(`${line}${jsonLine(shown)}`), [], 'X01')
      assert(!/^bob/m.test(line), 'no line of it passes for a message')
    })

  test('names stand for accounts where they are known, and nothing where they are not', () => {
    assert.equal(eventOf(event(told.renewed)).by, 'alice')
    assert.equal(eventOf({ ...event(told.renewed), names: [] }).by, '')
    assert.equal(eventOf(event(told.devices)).account, toBase64url(account))
  })
})

test('S04: why something is missing is said in words, whatever the server says', async () => {
  for (const why of Object.keys(gapReasons) as (keyof typeof gapReasons)[]) {
    const line = await linesOf({ kind: 'gap', conversation, place: 3, sequence: 3, through: 4, at: 1, why }, labels)
    assert.match(line, /^\* #family: 2 messages are missing here \((?:\S+ ){3,}\S+\)$/)
  }
})

test('whoever takes a place again does so with the same device, or with another one', async () => {
  const by = { account, name: 'alice', device }
  const rejoin = { kind: 'change', conversation, place: 3, sequence: 3, at: 1, by, change: 'rejoin', left: [] } as const
  assert.equal(await linesOf({ ...rejoin, arrived: [] }, labels), '* #family: alice has taken its place again')
  const another = await linesOf({ ...rejoin, arrived: [by] }, labels)
  assert.equal(another, '* #family: alice has taken a place again with another device')
})

test('a message of a kind that this version does not know is shown as that, and kept for a program', async () => {
  const message: Message = {
    kind: 'message',
    conversation,
    place: 1,
    sequence: 1,
    at: 1,
    id,
    from: { account, name: 'alice' },
    device,
    isOwn: false,
    sentAt: 1,
    content: { kind: 'unknown', body: { code: 999, bytes: Uint8Array.of(1, 2, 3) } },
  }
  assert.match(await linesOf(message, labels), /^alice → #family {2}\(needs a newer version/)
  assert.deepEqual(eventOf(message).content, { kind: 'unknown', code: 999, bytes: 'AQID' })
})
