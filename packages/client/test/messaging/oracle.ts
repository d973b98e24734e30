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
      else if (isShown || cannotBeHealed(world, each, device)) assert.ok(isShown || isSeenToBeMissing(items, each))
      else {
        const there = items.find(({ sequence }) => sequence === each.sequence)
        const what = there === undefined ? 'nothing' : `${there.kind} ${'reason' in there ? there.reason : ''}`
        assert.fail(
          `${told}: "${each.text}" is not at its place ${each.sequence}, but ${what} (I1, I3)\n${courseOf(world, each, device)}`,
        )
      }
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

/** It went to the device, and was not sealed before the device was brought in. */
function wasAddressed({ server }: MessagingWorld, { conversation, sequence }: Promised, device: Device): boolean {
  const isDevice = (each: Uint8Array): boolean => same(each, device.identity.device)
  let [isThere, since] = [false, 0]
  for (const { request, accepted, to } of server.log) {
    if (!same(request.conversation, conversation)) continue
    if ('roster' in request) {
      const isNext = request.roster.some(isDevice)
      if (isNext && !isThere) since = request.epoch + 1
      isThere = isNext
    } else if (accepted.sequence === sequence) return to.some(isDevice) && request.epoch >= since
  }
  return false
}

/**
 * What a device could not open at its place nobody gives it once it or the author was taken off, or once others have come
 * for whom it was not: what heals it would reach them as well. Its user sees that there was something.
 */
function cannotBeHealed({ server }: MessagingWorld, { by, conversation, sequence }: Promised, device: Device): boolean {
  const needed = [by, device].map(({ identity }) => identity.device)
  return server.log.some(
    ({ request, accepted }) =>
      'roster' in request &&
      same(request.conversation, conversation) &&
      accepted.sequence > sequence &&
      (request.welcomes.length > 0 || needed.some((each) => !request.roster.some((other) => same(other, each)))),
  )
}

/** What the server accepted in that conversation, for whoever looks for the cause. */
function courseOf({ server }: MessagingWorld, { conversation }: Promised, device: Device): string {
  return server.log
    .filter(({ request }) => same(request.conversation, conversation))
    .map(({ request, accepted, to }) => {
      const what = 'roster' in request ? `commit to ${request.roster.length} devices` : 'send'
      const by = to.some((each) => same(each, device.identity.device)) ? 'for it' : 'for others'
      return `${accepted.sequence} ${request.generation}/${request.epoch} ${what}, ${by}`
    })
    .join('\n')
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
