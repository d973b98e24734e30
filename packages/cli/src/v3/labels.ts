import type { Known, Reader } from '@messageu/client'
import { type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { printable } from '../terminal.ts'

/** How much of a title, which is what somebody wrote, stands in a line of ours. */
const titleMax = 60
/** How many characters of an id stand for a group without a title. */
const idShown = 8

/** What a conversation is called in a line for people; a person, a group as `#TITLE`. */
export function labelOf({ conversation, kind, title, peer }: Omit<Known, 'members' | 'standing'>): string {
  switch (kind) {
    case 'direct':
      return personLabel(peer?.name ?? '')
    case 'self':
      return 'notes'
    case 'own-devices':
      return 'own devices'
    case 'group':
      // two blanks in a row are ours: they end the name of a conversation
      return `#${printable(title ?? toBase64url(conversation).slice(0, idShown), { max: titleMax }).replace(/\s+/g, ' ')}`
  }
}

export function personLabel(name: string): string {
  return name === '' ? 'somebody' : printable(name)
}

/** The conversations that arrivals are about. What they are called is asked for once. */
export class Labels {
  readonly #reader: Pick<Reader, 'describe'>
  readonly #known = new Map<string, Known>()

  constructor(reader: Pick<Reader, 'describe'>) {
    this.#reader = reader
  }

  async of(conversation: ConversationId): Promise<Pick<Known, 'kind'> & { readonly label: string }> {
    const name = toBase64url(conversation)
    const known = this.#known.get(name) ?? (await this.#reader.describe(conversation))
    if (known === undefined) return { kind: 'group', label: `#${name.slice(0, idShown)}` }
    this.#known.set(name, known)
    return { kind: known.kind, label: labelOf(known) }
  }

  /** It may be called something else from now on. */
  forget(conversation: ConversationId): void {
    this.#known.delete(toBase64url(conversation))
  }
}

/** What lines for people take names of conversations from. */
export type Naming = Pick<Labels, 'of' | 'forget'>
