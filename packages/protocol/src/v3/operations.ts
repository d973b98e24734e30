import { type Codec, list, nothing, optional } from '../codec.ts'
import { AccountId } from './ids.ts'
import { limits } from './limits.ts'
import * as m from './messages.ts'

/**
 * Every request: its number, who may ask, what goes in and what comes out. §12
 *
 * `anyone` needs no proved session; `device` is a device on its account's list in a proved session; `admin` is one
 * whose account may administer the server. What a device may do inside a conversation is decided by its roster.
 */
// biome-ignore format: the columns are the point
export const operations = {
  prove:            { code: 0x01, caller: 'anyone', request: m.Proof,                response: m.SessionOpened },
  register:         { code: 0x02, caller: 'anyone', request: m.Registration,         response: m.Registered },
  recover:          { code: 0x03, caller: 'anyone', request: m.Recovery,             response: m.Appended },
  'read-list':      { code: 0x04, caller: 'anyone', request: m.ListRequest,          response: m.ListPage },

  append:           { code: 0x10, caller: 'device', request: m.Recovery,             response: m.Appended },
  find:             { code: 0x11, caller: 'device', request: m.PeopleRequest,        response: optional(m.Person) },
  people:           { code: 0x12, caller: 'device', request: m.PeopleRequest,        response: m.PeoplePage },
  publish:          { code: 0x13, caller: 'device', request: m.KeyPackages,          response: m.KeyPackageCount },
  'count-packages': { code: 0x14, caller: 'device', request: nothing,                response: m.KeyPackageCount },
  claim:            { code: 0x15, caller: 'device', request: AccountId,              response: list(m.ClaimedPackage, { max: limits.devicesPerAccountMax }) },

  open:             { code: 0x20, caller: 'device', request: m.Opening,              response: m.Opened },
  create:           { code: 0x21, caller: 'device', request: m.ConversationRef,      response: m.Opened },
  commit:           { code: 0x22, caller: 'device', request: m.Commit,               response: m.Accepted },
  send:             { code: 0x23, caller: 'device', request: m.Send,                 response: m.Accepted },
  recreate:         { code: 0x24, caller: 'device', request: m.Recreation,           response: m.Opened },
  'read-state':     { code: 0x25, caller: 'device', request: m.ConversationRef,      response: m.ConversationState },
  'read-tree':      { code: 0x26, caller: 'device', request: m.TreeRequest,          response: m.Tree },
  leave:            { code: 0x27, caller: 'device', request: m.ConversationRef,      response: nothing },
  stuck:            { code: 0x28, caller: 'device', request: m.Stuck,                response: nothing },
  explain:          { code: 0x29, caller: 'device', request: m.GapRequest,           response: m.Gaps },
  conversations:    { code: 0x2a, caller: 'device', request: m.ConversationsRequest, response: m.ConversationsPage },

  credit:           { code: 0x30, caller: 'device', request: m.Credit,               response: nothing },
  acknowledge:      { code: 0x31, caller: 'device', request: m.Acknowledgement,      response: nothing },

  requests:         { code: 0x38, caller: 'device', request: nothing,                response: m.ContactRequests },
  judge:            { code: 0x39, caller: 'device', request: m.Judgement,            response: nothing },

  invite:           { code: 0x40, caller: 'admin',  request: m.NewInvite,            response: m.Invited },
  accounts:         { code: 0x41, caller: 'admin',  request: m.AccountsRequest,      response: m.AccountsPage },
  'set-account':    { code: 0x42, caller: 'admin',  request: m.AccountSetting,       response: nothing },
} as const satisfies Record<string, Operation>

export type Caller = 'anyone' | 'device' | 'admin'

interface Operation {
  readonly code: number
  readonly caller: Caller
  readonly request: Codec<unknown>
  readonly response: Codec<unknown>
}

export type OperationName = keyof typeof operations

/** What the server says unasked. §2.3 */
// biome-ignore format: the columns are the point
export const events = {
  hello:   { code: 0x80, body: m.Hello },
  deliver: { code: 0x81, body: m.Delivery },
  notice:  { code: 0x82, body: m.Notice },
} as const satisfies Record<string, { code: number; body: Codec<unknown> }>

export type EventName = keyof typeof events

/** How a request is answered. §2.3 */
export const answers = { done: 0xc0, refused: 0xc1 } as const
