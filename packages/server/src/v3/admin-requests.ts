import { ProtocolError } from '@messageu/protocol'
import { type AccountName, accountName, type Invite, RefusedError, toBase64url } from '@messageu/protocol/v3'
import type { Account, Conversations, Directory } from './services.ts'

/** What the operator of this machine may ask of the running server. */
export type AdminRequest =
  | { readonly do: 'invite'; readonly isAdmin: boolean }
  | { readonly do: 'accounts' }
  | { readonly do: 'quota'; readonly name: AccountName; readonly bytes: number }
  | { readonly do: 'block'; readonly name: AccountName; readonly isDisabled: boolean }
  | { readonly do: 'stats' }

export interface AdminServices {
  readonly directory: Pick<Directory, 'accountByName' | 'accountsAfter' | 'invite' | 'set'>
  readonly conversations: Pick<Conversations, 'storedBytes'>
  linkWith(invite: Invite): string
  /** Counts by name. */
  stats(): Readonly<Record<string, number>>
}

export type AdminEvent = { readonly event: string } & Readonly<Record<string, unknown>>

/** The request that a line is. Throws `malformed`, or `bad-name`. */
export function readAdminRequest(line: string): AdminRequest {
  const said = fieldsOf(line)
  if (said.v !== 1) throw new ProtocolError('malformed', 'a request has "v":1')
  switch (said.do) {
    case 'invite':
      return { do: 'invite', isAdmin: yesNo(said.isAdmin) }
    case 'accounts':
      return { do: 'accounts' }
    case 'quota':
      return { do: 'quota', name: nameIn(said.name), bytes: wholeNumber(said.bytes) }
    case 'block':
      return { do: 'block', name: nameIn(said.name), isDisabled: yesNo(said.isDisabled) }
    case 'stats':
      return { do: 'stats' }
    default:
      throw new ProtocolError('unknown-code', 'there is no such request')
  }
}

/** What comes of a request, one event after the other. Throws `ProtocolError`. */
export async function* serveAdmin(request: AdminRequest, services: AdminServices): AsyncIterable<AdminEvent> {
  const { directory } = services
  switch (request.do) {
    case 'invite': {
      const { invite, notAfter } = await directory.invite({ isAdmin: request.isAdmin })
      yield { event: 'invite', link: services.linkWith(invite), isAdmin: request.isAdmin, notAfter: iso(notAfter) }
      return
    }
    case 'accounts':
      for await (const account of everybody(directory)) yield await described(account, services)
      return
    case 'quota': {
      const account = await found(request.name, directory)
      await directory.set(account, { quotaBytes: request.bytes })
      yield await described(account, services)
      return
    }
    case 'block': {
      const account = await found(request.name, directory)
      await directory.set(account, { isDisabled: request.isDisabled })
      yield await described(account, services)
      return
    }
    case 'stats':
      yield { event: 'stats', counts: services.stats() }
  }
}

const pageSize = 100

async function* everybody(directory: AdminServices['directory']): AsyncIterable<Account> {
  let after: AccountName | undefined
  for (;;) {
    const page = await directory.accountsAfter(after, pageSize)
    yield* page
    if (page.length < pageSize) return
    after = page.at(-1)?.name
  }
}

async function found(name: AccountName, directory: AdminServices['directory']): Promise<Account> {
  const account = await directory.accountByName(name)
  if (account === undefined) throw new RefusedError('not-permitted', 'there is no account with this name')
  return account
}

async function described(account: Account, { conversations }: AdminServices): Promise<AdminEvent> {
  return {
    event: 'account',
    name: account.name,
    account: toBase64url(account.id),
    isAdmin: account.isAdmin,
    isDisabled: account.isDisabled,
    devices: account.devices.length,
    storedBytes: await conversations.storedBytes(account),
    quotaBytes: account.quotaBytes,
    createdAt: iso(account.createdAt),
  }
}

function fieldsOf(line: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new ProtocolError('malformed', 'a request is one line of JSON', { cause: error })
  }
  if (typeof value !== 'object' || value === null) throw new ProtocolError('malformed', 'a request is a JSON object')
  return Object.fromEntries(Object.entries(value))
}

function nameIn(value: unknown): AccountName {
  if (typeof value !== 'string') throw new ProtocolError('malformed', 'a name is a text')
  return accountName(value)
}

function yesNo(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new ProtocolError('malformed', 'true or false is missing')
  return value
}

function wholeNumber(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new ProtocolError('malformed', 'a number of bytes is missing')
  return value
}

const iso = (ms: number): string => new Date(ms).toISOString()
