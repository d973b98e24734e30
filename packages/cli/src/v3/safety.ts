import type { Client, Confirmation } from '@messageu/client'
import { toBase64url } from '@messageu/protocol/v3'
import { Failure } from '../failure.ts'
import { notice, tell } from '../output.ts'
import { qrCode } from '../qr-code.ts'
import { printable } from '../terminal.ts'
import { alarmSentences } from './alarm-sentences.ts'
import { type Context, connect, read } from './context.ts'

/** The number that both sides compare, by another way than this one. With `confirm` they have. CONVERSATIONS A 6 */
export async function verify(context: Context, who: string, { confirm }: { confirm: boolean }): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  if (who === 'me' || who === client.account.identity.name)
    throw new Failure('usage', {
      what: 'a safety number is between two people: there is none with yourself',
      advice: 'messageu verify NAME with somebody else; messageu device list shows your own devices',
    })
  if (confirm) await client.markVerified(who, { signal })
  const { digits, payload, isVerified, isOtherAccount, ...confirmed } = await client.safetyWith(who, { signal })
  const state = isVerified
    ? 'You have compared it: it is verified.'
    : `Not verified. If it is the same on both sides: messageu verify ${printable(who)} --confirm`
  const whose = isOtherAccount ? 'the OTHER account that calls itself ' : ''
  const next = isOtherAccount
    ? `\nALARM: this is not the account that you know. The same on both sides: messageu alarms accept ${printable(who)}. If not: messageu alarms keep ${printable(who)}`
    : ''
  await tell(
    output,
    {
      event: 'safety-number',
      name: who,
      digits,
      payload: toBase64url(payload),
      isVerified,
      isOtherAccount,
      ...confirmed,
    },
    `Safety number with ${whose}${printable(who)}:\n\n${table(digits)}\n${qrCode(output, payload)}\n${state}\n${listSentence(confirmed)}${next}`,
  )
}

function listSentence({ isConfirmed, isNewestConfirmed, confirmedAt }: Confirmation): string {
  if (!isConfirmed) return 'Their device list is what the server says; they have not confirmed it by a message yet.'
  if (isNewestConfirmed) return `Their device list was confirmed by themselves${since(confirmedAt, ', last on')}.`
  return `Their device list is what the server says: not confirmed by themselves since ${since(confirmedAt, '') || 'it was compared'}.`
}

function since(at: number | undefined, before: string): string {
  return at === undefined ? '' : `${before} ${new Date(at).toISOString()}`.trimStart()
}

/** What the user has been warned of and has not decided about. */
export async function alarms(context: Context): Promise<void> {
  const { output } = context
  await using opened = await read(context, { isSilent: true })
  const all = await opened.reader.alarms()
  for (const { kind, name, account, at } of all)
    await tell(
      output,
      { event: 'alarm', alarm: kind, ...(name !== undefined && { name }), account: toBase64url(account), at },
      `! ALARM: ${printable(name ?? 'an account')}: ${alarmSentences[kind]}`,
    )
  if (all.length === 0) await notice(output, 'nothing', 'there are no alarms')
}

/** From now on the name stands for the account that the alarm told of. */
export async function acceptAlarm(context: Context, name: string): Promise<void> {
  await decide(context, name, {
    event: 'accepted',
    act: (client) => client.acceptAccount(name),
    words: `${printable(name)} stands for the other account from now on. Compare safety numbers: messageu verify ${printable(name)}`,
  })
}

/** The name goes on standing for the account that it stood for. */
export async function keepAlarm(context: Context, name: string): Promise<void> {
  await decide(context, name, {
    event: 'kept',
    act: (client, wait) => client.keepAccount(name, wait),
    words: `${printable(name)} goes on standing for the account that you know. The other one is refused, and raises no alarm again.`,
  })
}

interface Decision {
  readonly event: string
  readonly act: (client: Client, wait: { signal: AbortSignal }) => Promise<void>
  readonly words: string
}

async function decide(context: Context, name: string, { event, act, words }: Decision): Promise<void> {
  const { output } = context
  await using connected = await connect(context, { isSilent: true })
  const { client, signal } = connected
  const isKnown = (await client.alarms()).some((alarm) => alarm.kind === 'other-account' && alarm.name === name)
  if (!isKnown)
    throw new Failure('not-found', {
      what: `there is no alarm that ${name} is another account`,
      advice: 'messageu alarms',
    })
  await act(client, { signal })
  await tell(output, { event, name }, words)
}

/** Twelve groups of five digits, four in a row. */
function table(digits: string): string {
  const groups = digits.match(/\d{5}/g) ?? []
  return [0, 4, 8].map((row) => `  ${groups.slice(row, row + 4).join(' ')}`).join('\n')
}
