import type { Confirmation, SeenPerson } from '@messageu/client'
import { toBase64url } from '@messageu/protocol/v3'
import { Failure } from '../failure.ts'
import { notice, type Output, tell } from '../output.ts'
import { printable } from '../terminal.ts'
import { type Context, connect } from './context.ts'

/** Everybody that the server shows. */
export async function people(context: Context): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  let isDirectory = false
  let count = 0
  for await (const page of client.people({ signal })) {
    isDirectory = page.isDirectory
    count += page.people.length
    for (const person of page.people) await tellPerson(output, person, await client.confirmation(person.account))
  }
  if (count === 0)
    await notice(output, 'nobody', isDirectory ? 'nobody else is here yet' : 'you have no conversations yet')
  if (!isDirectory) await notice(output, 'no-directory', 'others are found by their exact name: messageu people NAME')
}

/** Whoever has exactly this name, for the same account as ever. */
export async function person(context: Context, name: string): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  const found = await client.session.find(name, { signal })
  if (found === undefined)
    throw new Failure('unknown-person', {
      what: `nobody here is called ${name}`,
      advice: 'the exact name, as its owner writes it; whoever uses version 2 is not reached from here',
    })
  const seen = { ...found, isOtherAccount: false, isTurnedDown: false }
  await tellPerson(output, seen, await client.confirmation(found.account))
}

/** Who has begun a conversation and waits to be accepted. */
export async function requests(context: Context): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  const waiting = await client.requests({ signal })
  for (const { name, account, conversation, at } of waiting)
    await tell(
      output,
      { event: 'request', name, account: toBase64url(account), conversation: toBase64url(conversation), at },
      `${printable(name)}  since ${new Date(at).toISOString()}`,
    )
  if (waiting.length === 0) await notice(output, 'nobody', 'nobody waits to be accepted')
}

/** What is decided about somebody; the other devices of the account hear of it. */
export async function judge(context: Context, verdict: keyof typeof judged, name: string): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  await client.judge(name, verdict, { signal })
  await tell(output, { event: judged[verdict].event, name }, `${printable(name)} ${judged[verdict].words}`)
}

const judged = {
  accept: { event: 'accepted', words: 'is accepted: messageu listen shows what was written so far' },
  refuse: { event: 'refused', words: 'is refused' },
  block: { event: 'blocked', words: 'is blocked: nothing more comes from there' },
  unblock: { event: 'unblocked', words: 'may ask again' },
} as const

function tellPerson(
  output: Output,
  { name, account, isOtherAccount, isTurnedDown }: SeenPerson,
  confirmed: Confirmation | undefined,
): Promise<void> {
  const other = isTurnedDown ? '  another account than the one that you know' : '  ALARM: another account than before'
  return tell(
    output,
    { event: 'person', name, account: toBase64url(account), isOtherAccount, isTurnedDown, ...confirmed },
    `${printable(name)}${isOtherAccount ? other : ''}${unconfirmed(confirmed)}`,
  )
}

/** Only what somebody has confirmed once can be out of date. S07 */
function unconfirmed(confirmed: Confirmation | undefined): string {
  if (confirmed?.confirmedAt === undefined || confirmed.isNewestConfirmed) return ''
  return `  devices not confirmed since ${new Date(confirmed.confirmedAt).toISOString()}`
}
