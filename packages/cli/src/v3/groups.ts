import type { Known, Somebody } from '@messageu/client'
import { toBase64url } from '@messageu/protocol/v3'
import { notice, tell } from '../output.ts'
import { type Context, connect, read } from './context.ts'
import { described } from './conversations.ts'
import { labelOf, personLabel } from './labels.ts'

/** A group with these people. Resolves with how many of them could not be brought in yet. */
export async function create(context: Context, title: string, names: readonly string[]): Promise<number> {
  await using connected = await connect(context)
  const { client, signal } = connected
  const { conversation, absent } = await client.createGroup(title, names, { signal })
  const group = await client.describe(conversation)
  if (group !== undefined) await tellGroup(context, 'created', group)
  await tellAbsent(context, absent)
  return absent.length
}

export async function addTo(context: Context, group: string, names: readonly string[]): Promise<number> {
  await using connected = await connect(context)
  const { client, signal } = connected
  const absent = await client.addPeople(marked(group), names, { signal })
  await tellGroup(context, 'added', await client.conversation(marked(group)))
  await tellAbsent(context, absent)
  return absent.length
}

export async function removeFrom(context: Context, group: string, names: readonly string[]): Promise<void> {
  await using connected = await connect(context)
  const { client, signal } = connected
  await client.removePeople(marked(group), names, { signal })
  await tellGroup(context, 'removed', await client.conversation(marked(group)))
}

export async function leave(context: Context, group: string): Promise<void> {
  await using connected = await connect(context)
  const { client, signal } = connected
  const before = await client.conversation(marked(group))
  await client.leave(marked(group), { signal })
  const conversation = toBase64url(before.conversation)
  await tell(context.output, { event: 'left', conversation }, `You have left ${labelOf(before)}.`)
}

export async function rename(context: Context, group: string, title: string): Promise<void> {
  await using connected = await connect(context)
  const { client, signal } = connected
  const { conversation } = await client.conversation(marked(group))
  await client.rename(marked(group), title, { signal })
  const renamed = await client.describe(conversation)
  if (renamed !== undefined) await tellGroup(context, 'renamed', renamed)
}

/** From now on these are the owners, and nobody else. */
export async function owners(context: Context, group: string, names: readonly string[]): Promise<void> {
  await using connected = await connect(context)
  const { client, signal } = connected
  await client.appoint(marked(group), names, { signal })
  await tellGroup(context, 'owners', await client.conversation(marked(group)))
}

/** Who is in a group, with how many devices. */
export async function members(context: Context, group: string): Promise<void> {
  const { output } = context
  await using opened = await read(context)
  const known = await opened.reader.conversation(marked(group))
  for (const { name, account, isOwner, devices } of known.members)
    await tell(
      output,
      { event: 'member', name, account: toBase64url(account), isOwner, devices },
      `${personLabel(name)}  ${devices} ${devices === 1 ? 'device' : 'devices'}${isOwner ? '  owner' : ''}`,
    )
  if (known.members.length === 0) await notice(output, 'nobody', 'this device has no place in the group')
}

function tellGroup({ output }: Context, event: string, group: Known): Promise<void> {
  const names = group.members.map(({ name, isOwner }) => `${personLabel(name)}${isOwner ? ' (owner)' : ''}`)
  return tell(output, { event, ...described(group) }, `${labelOf(group)}: ${names.join(', ')}`)
}

/** Of whoever has never been online no device is known that could be brought in. */
async function tellAbsent({ output }: Context, absent: readonly Somebody[]): Promise<void> {
  for (const { name, account } of absent)
    await tell(
      output,
      { event: 'absent', name, account: toBase64url(account) },
      `${personLabel(name)} is not in yet, because no device of theirs can be reached: add them again later`,
    )
}

/** A shell takes an unquoted # for a comment: it may be left out where only groups are meant. */
function marked(group: string): string {
  return group.startsWith('#') ? group : `#${group}`
}
