import type { Arrival, Event, Item, Message, Somebody } from '@messageu/client'
import { type Content, decodeContent } from '@messageu/e2ee/conversation'
import { printable, printableText } from '../terminal.ts'
import { alarmSentences } from './alarm-sentences.ts'
import { calling } from './arrival-events.ts'
import { type Naming, personLabel } from './labels.ts'

/**
 * What came in, as lines for people. A message begins with its author's name, what happened with a star, an alarm with an
 * exclamation mark; further lines of a text are indented, so that no text can pass for any of them.
 */
export async function linesOf(arrival: Arrival, labels: Naming): Promise<string> {
  if (arrival.kind === 'told') return toldLine(arrival, labels)
  if (arrival.kind === 'message') return messageLines(arrival, labels)
  return `* ${await itemSentence(arrival, labels)}`
}

async function messageLines({ conversation, from, isOwn, content }: Message, labels: Naming): Promise<string> {
  if (content.kind === 'title') labels.forget(conversation)
  const { kind, label } = await labels.of(conversation)
  const to = kind === 'direct' && !isOwn ? 'me' : label
  return `${isOwn ? 'me' : personLabel(from.name)} → ${to}  ${said(content)}`
}

export function said(content: Content): string {
  switch (content.kind) {
    case 'text':
      return printableText(content.body.text)
    case 'title':
      return `(this group is called ${printable(content.body.title, { max: 512 })} now)`
    case 'leave':
      return '(leaves)'
    case 'unknown':
      return `(needs a newer version of messageu: this one does not know messages of kind ${content.body.code})`
    case 'receipt':
    case 'ask':
    case 'copies':
    case 'contact':
    case 'manager':
    case 'settled':
      return '(something between devices)'
  }
}

async function itemSentence(item: Exclude<Item, Message>, labels: Naming): Promise<string> {
  labels.forget(item.conversation)
  const { label } = await labels.of(item.conversation)
  switch (item.kind) {
    case 'joined':
      return `${label}: ${personLabel(item.by.name)} has brought this device in. Here are ${listed(item.members)}`
    case 'change': {
      const by = personLabel(item.by.name)
      return `${label}: ${by} ${changed(item)}`
    }
    case 'unopened':
      return `${label}: a message that cannot be opened (${printable(item.reason)}); others are asked for it`
    case 'gap': {
      const count = item.through - item.sequence + 1
      return `${label}: ${count === 1 ? 'a message is' : `${count} messages are`} missing here (${gapWords[item.why]})`
    }
  }
}

/** Why places were never delivered. Protocol 3 §7.5 */
const gapWords: Readonly<Record<Extract<Item, { kind: 'gap' }>['why'], string>> = {
  'not-addressed': 'not for this device, says the server',
  expired: 'the server has not kept it any longer',
  lost: 'the server has lost it',
  waiting: 'the server has not delivered it yet',
  acknowledged: 'the server says that this device has had it',
}

function changed({ by, change, arrived, left }: Extract<Item, { kind: 'change' }>): string {
  switch (change) {
    case 'add':
      return `has added ${listedBy(by, arrived)}`
    case 'remove':
      return `has removed ${listedBy(by, left)}`
    case 'rules':
      return 'has changed who owns the group'
    case 'rejoin':
      return arrived.length === 0 ? 'has taken its place again' : 'has taken a place again with another device'
    case 'update':
      return 'has new keys'
  }
}

/** Whom somebody has brought in or taken out: others by name, and devices of one's own as that. */
function listedBy(by: Somebody, people: readonly Somebody[]): string {
  const isOwn = ({ account }: Somebody): boolean => Buffer.compare(account, by.account) === 0
  const others = people.filter((each) => !isOwn(each))
  const names = others.length === 0 ? [] : [listed(others)]
  return [...names, ...(people.some(isOwn) ? ['a device of their own'] : [])].join(' and ')
}

async function toldLine({ told, names }: Event, labels: Naming): Promise<string> {
  const called = calling(names)
  const who = (account: Uint8Array): string => personLabel(called(account))
  switch (told.kind) {
    case 'request': {
      const name = who(told.body.account)
      return `* ${name} wants to write to you: messageu requests accept ${name} (or refuse, or block)`
    }
    case 'devices': {
      const { account, added, removed } = told.body
      const news = [counted('new device', added.length), counted('device fewer', removed.length, 'devices fewer')]
      return `* ${who(account)} has ${news.filter((each) => each !== '').join(' and ')}`
    }
    case 'fork':
      return `! ALARM: ${await name(told.body.conversation)}: members were given different commits. Compare safety numbers`
    case 'differs':
      return `! ALARM: ${await name(told.body.conversation)}: ${who(told.body.account)} has seen other messages than this device: something was withheld or changed in order`
    case 'stuck': {
      const { conversation, by, why } = told.body
      const whose = by === undefined ? '' : ` by ${who(by)}`
      return `* ${await name(conversation)}: a change${whose} cannot be applied here (${printable(why)}); this device looks for its way back`
    }
    case 'rejoined': {
      const there = [...new Set(told.body.members.map(({ account }) => who(account)))]
      return `* ${await name(told.body.conversation)}: this device has taken its place again. Here are ${there.join(', ')}`
    }
    case 'renewed':
      return `* ${await name(told.body.conversation)}: ${who(told.body.by)} has begun it anew, with new keys`
    case 'failed': {
      const { conversation, reason, content } = told.body
      return `! NOT SENT to ${await name(conversation)} (${reason}): ${said(decodeContent(content))}`
    }
    case 'alarm': {
      const { kind, account, name: own } = told.body
      return `! ALARM: ${personLabel(own ?? called(account))}: ${alarmSentences[kind]}`
    }
    case 'package':
      return `* a device of ${who(told.body.account)} stays out: what the server gave for it is not good (${printable(told.body.reason)})`
    case 'unwelcome':
      return `* somebody tried to bring this device into a conversation, and it did not take it: ${printable(told.body.reason)}`
    case 'restored':
      return '* the server was restored from a copy: what was received before may come again'
  }

  async function name(conversation: Parameters<Naming['of']>[0]): Promise<string> {
    labels.forget(conversation)
    return (await labels.of(conversation)).label
  }
}

function listed(people: readonly Somebody[]): string {
  return [...new Set(people.map(({ name }) => personLabel(name)))].join(', ')
}

function counted(one: string, count: number, many = `${one}s`): string {
  if (count === 0) return ''
  return count === 1 ? `1 ${one}` : `${count} ${many}`
}
