import assert from 'node:assert/strict'
import { type ConversationId, toBase64url } from '@messageu/protocol/v3'
import type { Arrival, Item } from '../../src/messaging/items.ts'
import { same } from './ledger.ts'
import type { Device, MessagingWorld } from './people.ts'

/** Something whose acceptance its sender was told of. */
export interface Promised {
  readonly by: Device
  readonly conversation: ConversationId
  readonly sequence: number
  readonly text: string
}

/**
 * Judges by what the senders were promised, what the server wrote down about whom it was for, and what the users were
 * shown: I1 to I3 of the catalogue. It knows nothing of how a client works.
 */
export async function judge(
  world: MessagingWorld,
  { devices, promised, title }: { devices: readonly Device[]; promised: readonly Promised[]; title: string },
): Promise<void> {
  for (const device of devices) {
    const told = `${title}, ${device.name}`
    const twice = repeatedIn(device.shown)
    assert.deepEqual(twice, [], `${told}: shown twice (I2)`)
    const conversations = new Map<string, readonly Item[]>()
    for await (const { conversation } of device.client.conversations())
      conversations.set(toBase64url(conversation), await device.historyOf(conversation))
    for (const each of promised) {
      const items = conversations.get(toBase64url(each.conversation)) ?? []
      const isFor = same(each.by.identity.device, device.identity.device) || wasAddressed(world, each, device)
      const found = items.filter((item) => textOf(item) === each.text)
      const isShown = found.length === 1 && found[0]?.sequence === each.sequence
      if (!isFor) assert.equal(found.length, 0, `${told}: "${each.text}" was for others`)
      else if (isShown || wasTakenOffLater(world, each, device)) assert.ok(isShown || isSeenToBeMissing(items, each))
      else assert.fail(`${told}: "${each.text}" is ${found.length} times in the history, not at its place (I1, I3)`)
    }
    for (const items of conversations.values()) {
      const sequences = items.map(({ sequence }) => sequence)
      assert.deepEqual(
        sequences,
        [...sequences].sort((one, other) => one - other),
        `${told}: out of order (I3)`,
      )
    }
  }
}

function wasAddressed({ server }: MessagingWorld, { conversation, sequence }: Promised, device: Device): boolean {
  return server.log.some(
    ({ request, accepted, to }) =>
      same(request.conversation, conversation) &&
      accepted.sequence === sequence &&
      to.some((each) => same(each, device.identity.device)),
  )
}

/** What a device could not open before it was taken off nobody gives it any more: its user sees that there was something. */
function wasTakenOffLater({ server }: MessagingWorld, { conversation, sequence }: Promised, device: Device): boolean {
  return server.log.some(
    ({ request, accepted }) =>
      'roster' in request &&
      same(request.conversation, conversation) &&
      accepted.sequence > sequence &&
      !request.roster.some((each) => same(each, device.identity.device)),
  )
}

function isSeenToBeMissing(items: readonly Item[], { sequence }: Promised): boolean {
  return items.some((item) => item.kind === 'unopened' && item.sequence === sequence)
}

function repeatedIn(shown: readonly Arrival[]): readonly string[] {
  const texts = shown.flatMap((each) => textOf(each) ?? [])
  return texts.filter((text, i) => texts.indexOf(text) !== i)
}

function textOf(item: Arrival): string | undefined {
  return item.kind === 'message' && item.content.kind === 'text' ? item.content.body.text : undefined
}
