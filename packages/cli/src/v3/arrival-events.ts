import type { Arrival, Event, Somebody } from '@messageu/client'
import { type Content, decodeContent } from '@messageu/e2ee/conversation'
import { toBase64url } from '@messageu/protocol/v3'
import { hex } from './context.ts'

type Fields = Readonly<Record<string, unknown>>

/** What came in, as an event for programs. DESIGN 9 */
export function eventOf(arrival: Arrival): Fields {
  if (arrival.kind === 'told') return { event: arrival.told.kind, at: arrival.at, ...toldFields(arrival) }
  const { conversation, sequence, at } = arrival
  const placed = { conversation: toBase64url(conversation), sequence, at }
  switch (arrival.kind) {
    case 'message': {
      const { id, from, device, isOwn, sentAt, content } = arrival
      const sender = { from: from.name, account: toBase64url(from.account), device: hex(device), isOwn }
      return { event: 'message', id: hex(id), ...placed, ...sender, sentAt, content: contentFields(content) }
    }
    case 'joined':
      return { event: 'joined', ...placed, by: arrival.by.name, members: namesOf(arrival.members) }
    case 'change': {
      const { by, change, arrived, left } = arrival
      return { event: 'change', ...placed, by: by.name, change, arrived: arrived.map(member), left: left.map(member) }
    }
    case 'unopened':
      return {
        event: 'unopened',
        ...placed,
        ...(arrival.id && { id: hex(arrival.id) }),
        reason: arrival.reason,
      }
    case 'gap':
      return { event: 'gap', ...placed, through: arrival.through, why: arrival.why }
  }
}

/** What a message says. Of a kind that this version does not know there is only what came. */
export function contentFields({ kind, body }: Content): Fields {
  switch (kind) {
    case 'text':
      return { kind, text: body.text }
    case 'title':
      return { kind, title: body.title }
    case 'unknown':
      return { kind, code: body.code, bytes: toBase64url(body.bytes) }
    case 'leave':
    case 'receipt':
    case 'ask':
    case 'copies':
    case 'contact':
    case 'manager':
    case 'settled':
      return { kind } // the rest is between devices
  }
}

function toldFields({ told, names }: Event): Fields {
  const called = calling(names)
  switch (told.kind) {
    case 'request': {
      const { account, conversation } = told.body
      return { name: called(account), account: toBase64url(account), conversation: toBase64url(conversation) }
    }
    case 'devices': {
      const { account, added, removed } = told.body
      return { name: called(account), account: toBase64url(account), added: added.map(hex), removed: removed.map(hex) }
    }
    case 'fork':
      return { conversation: toBase64url(told.body.conversation), epoch: told.body.epoch }
    case 'differs': {
      const { conversation, sequence, account } = told.body
      return { conversation: toBase64url(conversation), sequence, name: called(account) }
    }
    case 'stuck': {
      const { conversation, by, why } = told.body
      return { conversation: toBase64url(conversation), ...(by && { by: called(by) }), why }
    }
    case 'rejoined': {
      const { conversation, members } = told.body
      const there = new Set(members.map(({ account }) => called(account)))
      return { conversation: toBase64url(conversation), members: [...there], devices: members.length }
    }
    case 'renewed': {
      const { conversation, generation, by } = told.body
      return { conversation: toBase64url(conversation), generation, by: called(by) }
    }
    case 'failed': {
      const { conversation, id, reason, content } = told.body
      const said = contentFields(decodeContent(content))
      return { conversation: toBase64url(conversation), id: hex(id), reason, content: said }
    }
    case 'alarm': {
      const { kind, account, name } = told.body
      return { alarm: kind, name: name ?? called(account), account: toBase64url(account) }
    }
    case 'package': {
      const { account, device, reason } = told.body
      return { name: called(account), account: toBase64url(account), device: hex(device), reason }
    }
    case 'unwelcome':
      return { conversation: toBase64url(told.body.conversation), reason: told.body.reason }
    case 'restored':
      return {}
  }
}

/** The name of an account; whose list was never read has none. */
export function calling(names: readonly Somebody[]): (account: Uint8Array) => string {
  return (account) => names.find((each) => Buffer.compare(each.account, account) === 0)?.name ?? ''
}

function member({ name, account, device }: Somebody & { readonly device: Uint8Array }): Fields {
  return { name, account: toBase64url(account), device: hex(device) }
}

function namesOf(people: readonly Somebody[]): readonly string[] {
  return people.map(({ name }) => name)
}
