import { existsSync } from 'node:fs'
import { type AccountRow, Client, ClientError, Reader, type SessionEvent, type World, whoAmI } from '@messageu/client'
import { nodeWorld, openProfile, type Profile } from '@messageu/client/node'
import { notice, type Output } from '../output.ts'
import { alarmSentences } from './alarm-sentences.ts'

export { profileFolder } from './home.ts'

/** What every command works with. */
export interface Context {
  readonly output: Output
  /** The folder of the profile. */
  readonly folder: string
  readonly signal: AbortSignal
  readonly world: World
}

export const machine: World = nodeWorld()

/** The account that lives in the profile. */
export async function accountIn(folder: string): Promise<AccountRow> {
  await using held = await openExisting(folder)
  return held.account
}

/** What the profile has, without its server. Alarms are told before anything else. */
export async function read(
  { folder, output, world: { clock } }: Context,
  { isSilent = false }: Pick<Manner, 'isSilent'> = {},
): Promise<AsyncDisposable & { readonly reader: Reader }> {
  await using opening = new AsyncDisposableStack()
  const { profile } = opening.use(await openExisting(folder))
  const reader = await Reader.open({ store: profile.store, clock })
  if (!isSilent) await tellAlarms(output, reader)
  const held = opening.move()
  return { reader, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

interface Connected extends AsyncDisposable {
  readonly client: Client
  /** Ends the command as well when the connection is lost, unless it is patient. */
  readonly signal: AbortSignal
}

interface Manner {
  /** Whether this device does what members ought to do by themselves. */
  readonly tends?: boolean
  /** Whether it waits for a server that is not there, and comes back when it is lost; nobody watches other commands do so. */
  readonly isPatient?: boolean
  /** Whether the command tells of alarms itself. */
  readonly isSilent?: boolean
}

/** The profile at its server. What the server says unasked is told; alarms are told before anything else. */
export async function connect(
  { folder, output, signal, world }: Context,
  { tends = false, isPatient = false, isSilent = false }: Manner = {},
): Promise<Connected> {
  await using opening = new AsyncDisposableStack()
  const { profile } = opening.use(await openExisting(folder))
  const loss = new AbortController()
  const onEvent = (event: SessionEvent): void => {
    if (event.kind === 'incarnation')
      void notice(output, 'restored', 'the server was restored from a copy: what was received before may come again')
    if (event.kind !== 'phase') return
    const { phase } = event
    if (phase.phase === 'ended' || (phase.phase === 'lost' && !isPatient)) loss.abort(phase.why)
    else if (phase.phase === 'lost')
      void notice(output, 'lost', `no connection (${phase.why.message}): it is tried again until it is back`)
    else if (phase.phase === 'open' && isPatient) void notice(output, 'connected', 'connected')
  }
  const either = AbortSignal.any([signal, loss.signal])
  const patience = isPatient ? 'for-ever' : 'one-attempt'
  const options = { store: profile.store, world, signal: either, patience, onEvent, tends } as const
  const client = opening.use(await Client.connect(options))
  if (!isSilent) await tellAlarms(output, client)
  const held = opening.move()
  return { client, signal: either, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

async function tellAlarms(output: Output, kept: Pick<Reader, 'alarms'>): Promise<void> {
  for (const { kind, name } of await kept.alarms())
    await notice(output, kind, `${name ?? 'an account'}: ${alarmSentences[kind]}`)
}

/** A profile that has an account. One that is not there is not begun by looking for it. */
async function openExisting(
  folder: string,
): Promise<AsyncDisposable & { readonly profile: Profile; readonly account: AccountRow }> {
  if (!existsSync(folder)) throw notRegistered(folder)
  await using opening = new AsyncDisposableStack()
  const profile = opening.use(await openProfile(folder))
  const account = await whoAmI(profile.store)
  if (account === undefined) throw notRegistered(folder)
  const held = opening.move()
  return { profile, account, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

function notRegistered(folder: string): ClientError {
  return new ClientError('not-registered', `there is no account in ${folder}`)
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
