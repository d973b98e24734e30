import { createHash } from 'node:crypto'
import { type Listed, nameToText, type PublicKey } from '@messageu/protocol/v2'
import { notice, type Output, tell } from '../output.ts'
import { printable, printableText } from '../terminal.ts'
import { type Content, type Identity, idText, type Person, type Reading, type Sent } from './client.ts'

/**
 * The results of the version 2 client, as events and as lines. What a peer chose stands at the end of a line and is
 * escaped; each function resolves when the result was handed over.
 */
export function tellRegistered(output: Output, { name, id }: Identity): Promise<void> {
  const event = { event: 'registered', name: nameToText(name), id: idText(id) }
  return tell(output, event, `registered ${event.id} as ${printable(event.name)}`)
}

export function tellListed(output: Output, { client, name }: Listed): Promise<void> {
  const event = { event: 'person', id: idText(client), name: nameToText(name) }
  return tell(output, event, `${event.id}  ${printable(event.name)}`)
}

export function tellPublicKey(output: Output, person: Person, publicKey: PublicKey): Promise<void> {
  const event = {
    event: 'key',
    id: idText(person.id),
    who: nameOf(person),
    publicKey: Buffer.from(publicKey).toString('base64'),
    fingerprint: createHash('sha256').update(publicKey).digest('hex'),
  }
  return tell(
    output,
    event,
    `public key of ${event.id} ${printable(event.who)}\n  ${event.publicKey}\n` +
      `  fingerprint (SHA-256), to be compared with its owner: ${event.fingerprint.match(/.{4}/g)?.join(' ')}`,
  )
}

export function tellSent(output: Output, { to, id, kind, bytes }: Sent): Promise<void> {
  const event = { event: 'sent', to: idText(to.id), name: nameOf(to), id: String(id), kind, bytes }
  return tell(output, event, `sent: ${kinds[kind]} ${id} (${bytes} bytes) to ${printable(event.name)}`)
}

const kinds = { 'key-request': 'key request', key: 'key', text: 'text', file: 'file' } as const

export async function tellReading(output: Output, reading: Reading): Promise<void> {
  const { id, from } = reading
  const about = { id: String(id), from: idText(from.id), ...(from.name && { name: nameToText(from.name) }) }
  const who = from.name === undefined ? about.from : `${about.from} ${printable(nameToText(from.name))}`
  switch (reading.kind) {
    case 'repeated':
      return // it was shown when it came the first time
    case 'unreadable': {
      const { type, reason, kept } = reading
      const line = `unreadable: ${kinds[type]} ${id} from ${who}\n  ${reasons[reason]}${kept ? `; ${waits}` : ''}`
      return tell(output, { event: 'unreadable', ...about, type, reason, kept }, line)
    }
    case 'message': {
      const { content } = reading
      await tell(output, { event: 'message', ...about, content: contentEvent(content) }, lines(content, id, who))
      if (content.kind === 'key' && content.change === 'changed')
        await notice(output, 'key-changed', `key changed: another AES key is in use with ${nameOf(from)} from now on`)
    }
  }
}

const waits = 'it is kept, and opens when a key for it comes'

const reasons = {
  'no-key': 'we have no AES key of this sender: ask for one',
  'bad-key': 'no key that we have opens it',
  malformed: 'its content is not what its type promises',
} as const

function contentEvent(content: Content): Record<string, unknown> {
  if (content.kind !== 'file') return { ...content }
  const { kind, path, bytes, text } = content
  return { kind, path, size: bytes, ...(text && { text }) }
}

function lines(content: Content, id: number, who: string): string {
  switch (content.kind) {
    case 'key-request':
      return `key request ${id} from ${who}\n  to answer, give a key`
    case 'key':
      return `key ${id} from ${who}\n  ${changes[content.change]}`
    case 'text':
      return `text ${id} from ${who}\n  ${printableText(content.text)}`
    case 'file': {
      const saved = `saved ${content.bytes} bytes as ${printable(content.path)}`
      return content.text
        ? `text ${id} from ${who}\n  too long to show: ${saved}`
        : `file ${id} from ${who}\n  ${saved}`
    }
  }
}

const changes = {
  first: 'texts and files can be exchanged now',
  same: 'it is the one that we have',
  changed: 'it replaces the one that we had; if you did not expect that, ask the sender by another way',
} as const

function nameOf({ id, name }: Pick<Person, 'id' | 'name'>): string {
  return name === undefined ? idText(id) : nameToText(name)
}
