import { existsSync } from 'node:fs'
import {
  type AccountRow,
  ClientError,
  openSession,
  type Session,
  type SessionEvent,
  systemClock,
  systemRandom,
  type World,
  whoAmI,
} from '@messageu/client'
import { nodeTransport, openProfile, type Profile } from '@messageu/client/node'
import { notice, type Output } from '../output.ts'

/** What every command works with. */
export interface Context {
  readonly output: Output
  /** The folder of the profile. */
  readonly folder: string
  readonly signal: AbortSignal
  readonly world: World
}

/** This machine's network, clock and randomness. */
export const machine: World = { transport: nodeTransport(), clock: systemClock, random: systemRandom }

/** The account that lives in the profile. */
export async function accountIn(folder: string): Promise<AccountRow> {
  await using held = await openExisting(folder)
  return held.account
}

interface OpenSession extends AsyncDisposable {
  readonly session: Session
  /** Ends the command as well when the session is lost: a session comes back for ever, and nobody watches a command do so. */
  readonly signal: AbortSignal
}

/** The session of the profile. What the server says unasked is told; alarms are told before anything else. */
export async function startSession({ folder, output, signal, world }: Context): Promise<OpenSession> {
  await using opening = new AsyncDisposableStack()
  const { profile } = opening.use(await openExisting(folder))
  const loss = new AbortController()
  const onEvent = (event: SessionEvent): void => {
    if (event.kind === 'phase' && event.phase.phase === 'lost') loss.abort(event.phase.why)
    if (event.kind === 'incarnation')
      void notice(output, 'restored', 'the server was restored from a copy: what was received before may come again')
  }
  const session = opening.use(await openSession({ store: profile.store, world, signal, onEvent }))
  for (const { kind, name } of await session.alarms())
    await notice(output, kind, `${name ?? 'an account'}: ${alarms[kind]}`)
  const held = opening.move()
  return {
    session,
    signal: AbortSignal.any([signal, loss.signal]),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

const alarms = {
  'other-account': 'the name stands for another account than before; compare safety numbers before you write',
  'older-list': 'the server has shown an old device list',
  'forked-list': 'the server has shown two device lists that contradict each other',
} as const

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
