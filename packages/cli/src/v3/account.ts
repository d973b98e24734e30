import path from 'node:path'
import {
  type AccountRow,
  Client,
  ClientError,
  recover as recoverAccount,
  register as registerAccount,
  whoAmI,
} from '@messageu/client'
import { openProfile, type Profile } from '@messageu/client/node'
import { accountName, authorityOf, type Link, parseLink, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { Failure } from '../failure.ts'
import { unlessAborted } from '../interrupt.ts'
import { notice, tell } from '../output.ts'
import { printable } from '../terminal.ts'
import { accountIn, type Context, hex } from './context.ts'
import { Labels } from './labels.ts'
import { show } from './listen.ts'
import { type KeptWords, wordsForNewAccount, wordsOfAccount } from './words.ts'

/** A new account, with this profile as its first device. */
export async function register(
  context: Context,
  { name, server, wordsFile }: { name: string; server: string; wordsFile: string | undefined },
): Promise<void> {
  const { output, folder, signal, world } = context
  const link = linkOf(server)
  accountName(name) // before anybody writes down words for nothing
  await using profile = await openProfile(folder)
  await mustBeNew(profile, folder)
  const mayAsk = process.stdin.isTTY && process.stdout.isTTY && !output.json
  const file = wordsFile ?? (mayAsk ? undefined : path.join(folder, 'recovery-words.txt'))
  const kept = await wordsForNewAccount(file, world.random, { signal })
  const applicant = { link, name, words: kept.words, store: profile.store, world, signal }
  const account = await registerAccount(applicant).catch(async (error: unknown) => {
    if (kept.file === undefined && isUndecided(error)) await notice(output, 'undecided', undecided)
    throw error
  })
  await tell(
    output,
    {
      event: 'registered',
      ...described(account),
      isAdmin: account.isAdmin,
      ...(kept.file === undefined ? {} : { wordsFile: kept.file }),
    },
    `You are ${printable(name)} on ${hostOf(account)}${account.isAdmin ? ', and its administrator' : ''}.${toldOf(kept)}`,
  )
  await settle(context, profile)
}

/** The account that the words belong to, with this profile as its only device. */
export async function recover(
  context: Context,
  { server, wordsFile }: { server: string; wordsFile: string | undefined },
): Promise<void> {
  const { output, folder, signal, world } = context
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
  await settle(context, profile, { isBack: true })
}

/**
 * Connects once: others can bring the device into conversations from then on. A device that comes back with the words
 * takes its place in those that there are, and shows who is in them.
 */
async function settle(
  { output, signal, world }: Context,
  { store }: Profile,
  { isBack = false }: { isBack?: boolean } = {},
): Promise<void> {
  try {
    await using client = await Client.connect({ store, world, signal, tends: true })
    await unlessAborted(client.idle(), signal)
    if (!isBack) return
    const labels = new Labels(client)
    for await (const batch of client.arrivals({ signal, untilCaughtUp: true })) await show(output, batch, labels)
  } catch (error) {
    const isPassing = error instanceof ClientError || error instanceof RefusedError
    if (signal.aborted || !isPassing) throw error
    await notice(output, 'not-ready', `nobody can write to this device yet (${error.message}): messageu listen --once`)
  }
}

/** Who this profile is. Asks nobody. */
export async function whoami({ output, folder }: Context): Promise<void> {
  const account = await accountIn(folder)
  const { identity, isAdmin } = account
  await tell(
    output,
    { event: 'me', ...described(account), isAdmin },
    `${printable(identity.name)} on ${hostOf(account)}${isAdmin ? ' (administrator)' : ''}
account ${toBase64url(identity.account)}
device  ${hex(identity.device)}`,
  )
}

async function mustBeNew({ store }: Profile, folder: string): Promise<void> {
  const account = await whoAmI(store)
  if (account === undefined) return
  throw new Failure('already-registered', {
    what: `${folder} is ${account.identity.name} already`,
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

/** Whether the server may have let us in, although its answer did not come. */
function isUndecided(error: unknown): boolean {
  if (error instanceof RefusedError) return false
  return !(error instanceof ClientError) || error.reason === 'lost' || error.reason === 'bad-answer'
}

const undecided =
  'the account may have been made: then these words are it, and messageu recover brings it here. Keep them until you know'

function described({ identity }: AccountRow): Record<string, string> {
  const { name, account, device } = identity
  return { name, account: toBase64url(account), device: hex(device), server: authorityOf(identity) }
}

function hostOf({ identity }: AccountRow): string {
  return printable(authorityOf(identity))
}

function toldOf({ file }: KeptWords): string {
  return file === undefined
    ? ''
    : `\nThe 24 words that recover the account are in ${printable(file)}: move them to a safe place, off this machine.`
}
