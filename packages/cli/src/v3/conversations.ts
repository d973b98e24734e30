import type { Known } from '@messageu/client'
import { toBase64url } from '@messageu/protocol/v3'
import { notice, tell } from '../output.ts'
import { type Context, read } from './context.ts'
import { labelOf, personLabel } from './labels.ts'

/** What there is: people, groups, and where this device stands in them. */
export async function conversations(context: Context, { kind }: { kind?: Known['kind'] } = {}): Promise<void> {
  const { output } = context
  await using opened = await read(context)
  let count = 0
  for await (const known of opened.reader.conversations()) {
    if (kind === undefined ? known.kind === 'own-devices' : known.kind !== kind) continue
    count += 1
    await tell(output, { event: 'conversation', ...described(known) }, line(known))
  }
  const announced = await opened.reader.announced()
  if (announced > 0)
    await notice(
      output,
      'announced',
      `the server says that this device was brought into ${announced} more, and nothing proves it yet: messageu listen --once looks`,
    )
  if (count === 0) await notice(output, 'nobody', kind === 'group' ? 'there is no group yet' : 'there is nothing yet')
}

/** A conversation as an event has it. */
export function described({ conversation, kind, standing, title, peer, members }: Known): Record<string, unknown> {
  return {
    conversation: toBase64url(conversation),
    kind,
    standing,
    ...(title !== undefined && { title }),
    ...(peer !== undefined && { name: peer.name, account: toBase64url(peer.account) }),
    members: members.map(({ name, account, isOwner, devices }) => ({
      name,
      account: toBase64url(account),
      isOwner,
      devices,
    })),
  }
}

function line(known: Known): string {
  const { kind, standing, members, conversation } = known
  const id = kind === 'group' ? `  (${toBase64url(conversation).slice(0, 8)})` : ''
  const people =
    kind === 'group' && members.length > 0 ? `  ${members.map(({ name }) => personLabel(name)).join(', ')}` : ''
  return `${labelOf(known)}${id}${people}${standings[standing]}`
}

/** Where this device stands, where that is not simply in it. */
const standings: Readonly<Record<Known['standing'], string>> = {
  active: '',
  waiting: '  [waits for its place]',
  request: '  [a request: messageu requests]',
  stuck: '  [stuck: looks for its way back]',
  left: '  [left]',
  removed: '  [removed]',
  withdrawn: '  [a request that is over: messageu requests]',
}
