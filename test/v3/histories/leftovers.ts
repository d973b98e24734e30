import { toBase64url } from '@messageu/protocol/v3'
import type { Entry } from './ledger.ts'
import type { Past } from './past.ts'
import type { Phone } from './phone.ts'
import type { LeftBox } from './timed-server.ts'

const never = new AbortController().signal

/** Nobody uses it any more, and whoever was to drop it ended in the middle: as it stands on the list, it counts. */
export async function pendingOf({ phones }: Past, alive: readonly Phone[]): Promise<ReadonlySet<Phone>> {
  const pending = new Set<Phone>()
  for (const lost of phones.filter(({ isDropUnsure }) => isDropUnsure)) {
    const sibling = alive.find(({ person }) => person === lost.person)
    if (sibling === undefined) continue
    const { devices } = await sibling.client.devices({ signal: never })
    if (devices.some(({ device }) => toBase64url(device) === lost.id)) pending.add(lost)
  }
  return pending
}

/** What lies at the server and waits for nobody: for a device that is still listed, and that nobody uses, all may wait. */
export function leftovers(past: Past, boxes: readonly LeftBox[], pending: ReadonlySet<Phone>): readonly string[] {
  const ids = new Set([...pending].map(({ id }) => id))
  return boxes.flatMap((box) => {
    if (readersOf(past, box).some((id) => ids.has(id))) return []
    return [`the server still keeps ${nameOf(past, box)} (I9)`]
  })
}

/** The devices that its oldest message was for. It holds up whatever lies behind it, and nothing else does. */
function readersOf(past: Past, box: LeftBox): readonly string[] {
  if (box.kind === 'welcome') return [box.device]
  const { ledger } = past.town
  for (const generation of ledger.generationsOf(box.conversation)) {
    const course = ledger.inOrder(box.conversation, generation)
    const oldest = course.find(([sequence]) => sequence === box.oldest)
    if (oldest === undefined) continue
    const before = course.slice(0, course.indexOf(oldest)).map(([, entry]) => entry)
    const last = before.findLast(({ kind }) => kind === 'commit')
    // before the first commit, whoever has opened it is alone
    const opener = course.slice(0, 1).map(([, { by }]) => by)
    return [...(last === undefined ? opener : rosterAfter(last)), ...rosterAfter(oldest[1])]
  }
  return []
}

function rosterAfter(entry: Entry): readonly string[] {
  return entry.kind === 'commit' ? entry.roster : []
}

function nameOf({ phones, titles }: Past, box: LeftBox): string {
  if (box.kind === 'welcome') return `${box.count} Welcomes for ${phones.find(({ id }) => id === box.device)?.name}`
  const title = titles.get(box.conversation) ?? box.conversation.slice(0, 6)
  return `${box.count} of ${box.kind} in ${title}, from ${box.oldest} on`
}
