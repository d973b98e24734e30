import { CachedStore } from '../cached-store.ts'
import type { World } from '../connection.ts'
import type { AccountRow } from '../rows.ts'
import { Session, type SessionEvent } from '../session.ts'
import type { Store } from '../store.ts'
import { Bell } from '../waiting.ts'
import type { Desk } from './desk.ts'
import { discover } from './discovering.ts'
import { Keeper } from './keeper.ts'
import { messagingLimits as limits } from './limits.ts'
import { Lists } from './lists.ts'
import { meOf, registeredIn } from './reader.ts'
import { receiverOf } from './receive.ts'
import { comeBack } from './returning.ts'
import { senderOf } from './sender.ts'
import { Sending } from './sending.ts'
import { Settling } from './settling.ts'
import type { Tools } from './work.ts'

export interface ClientOptions {
  readonly store: Store
  readonly world: World
  readonly signal: AbortSignal
  /** Whether the first failure to connect is the end, or one more reason to try again. */
  readonly patience?: 'one-attempt' | 'for-ever'
  readonly onEvent?: (event: SessionEvent) => void
  /** Whether this device does what members ought to do by themselves; a program that sends one message need not. */
  readonly tends?: boolean
  /** How long rejoining may fail before a conversation is begun anew, in milliseconds. */
  readonly repairMs?: number
  /** Released with the client, and also if it cannot connect: what only it uses. */
  readonly owned?: AsyncDisposable
}

/** Whether everything that waited has come: in any session, and in the one that is open. */
export interface Life {
  isCaughtUp: boolean
  isUpToDate: boolean
}

/** What a client is made of once it has a session. */
export interface Parts {
  readonly desk: Desk
  readonly sending: Sending
  readonly settling: Settling
  readonly keeper: Keeper
  readonly life: Life
}

/** A session of a device that is registered, with all that hears and serves it; `held` ends it. */
export async function connect({
  tends = true,
  owned,
  ...options
}: ClientOptions): Promise<Parts & { readonly account: AccountRow; readonly held: AsyncDisposable }> {
  await using opening = new AsyncDisposableStack()
  if (owned !== undefined) opening.use(owned)
  const { world, signal, onEvent = () => {}, repairMs } = options
  const store = new CachedStore(options.store, { bytesMax: limits.cacheBytesMax })
  const account = await registeredIn(store)
  const { clock, random } = world
  const { account: own, serverKey } = account.identity
  const life: Life = { isCaughtUp: false, isUpToDate: false }
  const bell = new Bell()
  let keeper: Keeper | undefined
  const tools: Tools = {
    me: await meOf(account),
    lists: new Lists({ own, serverKey, clock, told: () => bell.ring() }),
    nowMs: () => clock.nowMs(),
    repairMs,
    touched: (conversation) => keeper?.touch(conversation),
    written: () => tends && keeper?.stir(),
  }
  const hear = (event: SessionEvent): void => {
    if (event.kind === 'phase' && event.phase.phase !== 'open') life.isUpToDate = false
    if (event.kind === 'phase' && event.phase.phase === 'open' && tends) void keeper?.opened().catch(() => {})
    if (event.kind === 'incarnation' && tends) void keeper?.restored().catch(() => {})
    if (event.kind === 'notice' && tends) void keeper?.hear(event.notice).catch(() => {})
    if (event.kind === 'caught-up') life.isCaughtUp = life.isUpToDate = true
    if (event.kind === 'caught-up' && tends) void keeper?.caughtUp().catch(() => {})
    if (event.kind === 'stored' && tends) keeper?.wake()
    onEvent(event)
    bell.ring()
  }
  opening.defer(async () => keeper?.idle())
  const session = opening.use(
    await Session.begin(account, {
      store,
      world,
      signal,
      receiver: receiverOf(tools),
      sender: senderOf(tools),
      onEvent: hear,
    }),
  )
  const desk: Desk = { session, store, tools, clock, random, bell, isCaughtUp: () => life.isUpToDate }
  const sending = new Sending(desk)
  const settling = new Settling(desk, sending)
  keeper = opening.use(new Keeper(desk, sending, settling))
  await session.ready(options)
  await tools.lists.refresh(store, account.identity.account, { asker: session.asker, signal })
  await discover(desk, account, { signal })
  await (tends ? keeper.opened() : comeBack(desk, { signal }))
  return { account, desk, sending, settling, keeper, life, held: opening.move() }
}
