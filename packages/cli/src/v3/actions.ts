import path from 'node:path'
import {
  type AccountRow,
  ClientError,
  connect,
  recover as recoverAccount,
  register as registerAccount,
  type Session,
  type SessionEvent,
  systemClock,
  systemRandom,
  type World,
  whoAmI,
} from '@messageu/client'
import { nodeTransport, openProfile, type Profile } from '@messageu/client/node'
import { accountName, authorityOf, type Link, parseLink, toBase64url } from '@messageu/protocol/v3'
import { Failure } from '../failure.ts'
import { notice, type Output, tell } from '../output.ts'
import { printable } from '../terminal.ts'
import { type KeptWords, wordsForNewAccount, wordsOfAccount } from './words.ts'

/** What every action works with. */
export interface Context {
  readonly output: Output
  /** The folder of the profile. */
  readonly folder: string
  readonly signal: AbortSignal
}

const world: World = { transport: nodeTransport(), clock: systemClock, random: systemRandom }

/** A new account, with this profile as its first device. */
export async function register(
  { output, folder, signal }: Context,
  { name, server, wordsFile }: { name: string; server: string; wordsFile: string | undefined },
): Promise<void> {
  const link = linkOf(server)
  accountName(name) // before anybody writes down words for nothing
  await using profile = await openProfile(folder)
  await mustBeNew(profile, folder)
  const mayAsk = process.stdin.isTTY && process.stdout.isTTY && !output.json
  const file = wordsFile ?? (mayAsk ? undefined : path.join(folder, 'recovery-words.txt'))
  const kept = await wordsForNewAccount(file, world.random, { signal })
  const account = await registerAccount({ link, name, words: kept.words, store: profile.store, world, signal })
  await tell(
    output,
    {
      event: 'registered',
      ...described(account),
      isAdmin: account.isAdmin,
      ...(file === undefined ? {} : { wordsFile: file }),
    },
    `You are ${printable(name)} on ${hostOf(account)}${account.isAdmin ? ', and its administrator' : ''}.${toldOf(kept)}`,
  )
}

/** The account that the words belong to, with this profile as its only device. */
export async function recover(
  { output, folder, signal }: Context,
  { server, wordsFile }: { server: string; wordsFile: string | undefined },
): Promise<void> {
  const link = linkOf(server)
  await using profile = await openProfile(folder)
  await mustBeNew(profile, folder)
  const words = await wordsOfAccount(wordsFile, { signal })
  const account = await recoverAccount({ link, words, store: profile.store, world, signal })
  await tell(
    output,
    { event: 'recovered', ...described(account) },
    `You are ${printable(account.identity.name)} on ${hostOf(account)} again, with this device alone: all others are off the list.
Earlier messages are not here: no server has what could read them.`,
  )
}

export async function whoami({ output, folder }: Context): Promise<void> {
  await using profile = await openProfile(folder)
  const account = await registered(profile)
  const { identity, isAdmin } = account
  await tell(
    output,
    { event: 'me', ...described(account), isAdmin },
    `${printable(identity.name)} on ${hostOf(account)}${isAdmin ? ' (administrator)' : ''}
account ${toBase64url(identity.account)}
device  ${hex(identity.device)}`,
  )
}

/** Everybody that the server shows; or whoever has exactly this name. */
export async function people(context: Context, name: string | undefined): Promise<void> {
  const { output, signal } = context
  await using device = await opened(context)
  const { session } = device
  if (name !== undefined) {
    const person = await session.find(name, { signal })
    if (person === undefined) throw unknownPerson(name)
    await tellPerson(output, person)
    return
  }
  let isDirectory = false
  let count = 0
  for await (const page of session.people({ signal })) {
    isDirectory = page.isDirectory
    count += page.people.length
    for (const person of page.people) await tellPerson(output, person)
  }
  if (count === 0)
    await notice(output, 'nobody', isDirectory ? 'nobody else is here yet' : 'you have no conversations yet')
  if (!isDirectory) await notice(output, 'no-directory', 'others are found by their exact name: messageu people NAME')
}

/** The devices on one's own list. */
export async function devices(context: Context): Promise<void> {
  const { output, signal } = context
  await using device = await opened(context)
  const { session } = device
  const own = hex(session.account.identity.device)
  const list = await session.ownList({ signal })
  for (const { device, since } of list.devices) {
    const isThis = hex(device) === own
    await tell(
      output,
      { event: 'device', device: hex(device), since, isThis },
      `${hex(device)}  since version ${since} of the list${isThis ? '  (this device)' : ''}`,
    )
  }
}

/** Who has begun a conversation and waits to be accepted. */
export async function requests(context: Context): Promise<void> {
  const { output, signal } = context
  await using device = await opened(context)
  const waiting = await device.session.requests({ signal })
  for (const { name, account, conversation, at } of waiting)
    await tell(
      output,
      { event: 'request', name, account: toBase64url(account), conversation: toBase64url(conversation), at },
      `${printable(name)}  since ${new Date(at).toISOString()}`,
    )
  if (waiting.length === 0) await notice(output, 'nobody', 'nobody waits to be accepted')
}

interface OpenDevice extends AsyncDisposable {
  readonly session: Session
}

/** The session of the profile. What the server says unasked is told; alarms are told before anything else. */
async function opened({ folder, output, signal }: Context): Promise<OpenDevice> {
  await using opening = new AsyncDisposableStack()
  const profile = opening.use(await openProfile(folder))
  await registered(profile)
  const onEvent = (event: SessionEvent): void => {
    if (event.kind === 'incarnation')
      void notice(output, 'restored', 'the server was restored from a copy: what was received before may come again')
  }
  const session = opening.use(await connect({ store: profile.store, world, signal, onEvent }))
  for (const { kind, name } of await session.alarms())
    await notice(output, kind, `${name ?? 'an account'}: ${alarms[kind]}`)
  const held = opening.move()
  return { session, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

const alarms = {
  'other-account': 'the name stands for another account than before; compare safety numbers before you write',
  'older-list': 'the server has shown an old device list',
  'forked-list': 'the server has shown two device lists that contradict each other',
} as const

async function registered({ store }: Profile): Promise<AccountRow> {
  const account = await whoAmI(store)
  if (account === undefined) throw new ClientError('not-registered', 'this profile has no account yet')
  return account
}

async function mustBeNew({ store }: Profile, folder: string): Promise<void> {
  const account = await whoAmI(store)
  if (account === undefined) return
  throw new Failure('already-registered', {
    what: `${folder} is ${printable(account.identity.name)} already`,
    advice: 'another profile: --profile NAME',
  })
}

function linkOf(server: string): Link {
  try {
    return parseLink(server)
  } catch (cause) {
    throw new Failure('bad-link', {
      what: 'this is no link to a server',
      why: cause instanceof Error ? cause.message : String(cause),
      advice: 'the whole link, as messageu serve prints it, between quotes',
    }) // without a cause: a link may hold an invite
  }
}

function described({ identity }: AccountRow): Record<string, string> {
  const { name, account, device } = identity
  return { name, account: toBase64url(account), device: hex(device), server: authorityOf(identity) }
}

function hostOf({ identity }: AccountRow): string {
  return printable(authorityOf(identity))
}

function tellPerson(output: Output, person: Parameters<typeof describedPerson>[0]): Promise<void> {
  const { name, account, isOtherAccount } = describedPerson(person)
  const alarm = isOtherAccount ? '  ALARM: another account than before' : ''
  return tell(output, { event: 'person', name, account, isOtherAccount }, `${printable(name)}${alarm}`)
}

function describedPerson({
  name,
  account,
  isOtherAccount = false,
}: {
  name: string
  account: Uint8Array
  isOtherAccount?: boolean
}) {
  return { name, account: toBase64url(account), isOtherAccount }
}

function unknownPerson(name: string): Failure {
  return new Failure('unknown-person', {
    what: `nobody here is called ${name}`,
    advice: 'the exact name, as its owner writes it',
  })
}

function toldOf({ file }: KeptWords): string {
  return file === undefined
    ? ''
    : `\nThe 24 words that recover the account are in ${file}: move them to a safe place, off this machine.`
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
