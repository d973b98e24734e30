import { createHash } from 'node:crypto'
import type { Transport } from '@messageu/client'
import { decode } from '@messageu/protocol'
import {
  Accepted,
  answers,
  DeliveredCommit,
  type DeviceId,
  events,
  operations,
  readFrames,
  toBase64url,
} from '@messageu/protocol/v3'

/** Something that the server accepted, as it went over the wire. */
export type Entry =
  | Commit
  | { readonly kind: 'send'; readonly epoch: number; readonly by: string; readonly recorded: number }

export interface Commit extends Committed {
  readonly kind: 'commit'
  readonly epoch: number
  readonly by: string
  readonly recorded: number
  /** The devices that it was delivered to. */
  readonly readers: Set<string>
}

interface Committed {
  readonly roster: readonly string[]
  /** Of its bytes: an epoch has one branch for each. */
  readonly digest: string
}

interface Sealed {
  readonly epoch: number
  readonly by: string
  readonly committed?: Committed
}

/**
 * What everybody's devices asked for and were told, read off their connections: who was where when something was accepted.
 * It knows nothing of how a client or the server works.
 */
export class Ledger {
  readonly #entries = new Map<string, Map<number, Entry>>()
  readonly #forgotten = new Map<string, Commit[]>()
  readonly #sealed = new Map<string, Sealed>()
  readonly #leavers = new Map<string, Map<string, number>>()
  #recorded = 0

  get now(): number {
    return this.#recorded
  }

  of(conversation: string, generation: number): ReadonlyMap<number, Entry> {
    return this.#entries.get(`${conversation}/${generation}`) ?? new Map()
  }

  /** The devices that have left it for their accounts, and how much had been accepted by then. */
  leaversOf(conversation: string): ReadonlyMap<string, number> {
    return this.#leavers.get(conversation) ?? new Map()
  }

  /** By sequence. */
  inOrder(conversation: string, generation: number): readonly (readonly [number, Entry])[] {
    return [...this.of(conversation, generation)].sort(([one], [other]) => one - other)
  }

  generationsOf(conversation: string): readonly number[] {
    return [...this.#entries.keys()]
      .filter((key) => key.startsWith(`${conversation}/`))
      .map((key) => Number(key.slice(conversation.length + 1)))
      .sort((a, b) => a - b)
  }

  /** The server has forgotten what it was told since then. */
  forgetSince(recorded: number): void {
    for (const [key, entries] of this.#entries)
      for (const [sequence, entry] of entries) {
        if (entry.recorded <= recorded) continue
        entries.delete(sequence)
        if (entry.kind === 'commit') this.#forgotten.set(key, [...(this.#forgotten.get(key) ?? []), entry])
      }
  }

  /** What the server has accepted, and gone on without. */
  forgottenCommits(conversation: string, generation: number): readonly Commit[] {
    return this.#forgotten.get(`${conversation}/${generation}`) ?? []
  }

  tap(transport: Transport, device: DeviceId): Transport {
    const by = toBase64url(device)
    return {
      open: async (link, heard, options) => {
        const asked = new Map<number, Sealed & { conversation: string; generation: number }>()
        const leaving = new Map<number, string>()
        const channel = await transport.open(
          link,
          {
            message: (message) => {
              for (const frame of readFrames(message)) {
                const sealed = frame.code === answers.done ? asked.get(frame.request) : undefined
                const left = frame.code === answers.done ? leaving.get(frame.request) : undefined
                if (left !== undefined)
                  this.#leavers.set(left, new Map([...this.leaversOf(left), [by, this.#recorded]]))
                if (sealed !== undefined) this.#note(sealed, decode(Accepted, frame.body).sequence)
                if (frame.code === events.deliver.code) this.#delivered(frame.body, by)
              }
              heard.message(message)
            },
            closed: (why) => heard.closed(why),
          },
          options,
        )
        return {
          certificate: channel.certificate,
          send: (message) => {
            for (const { code, request, body } of readFrames(message)) {
              asked.delete(request)
              leaving.delete(request)
              if (code === operations.leave.code)
                leaving.set(request, toBase64url(decode(operations.leave.request, body).conversation))
              const isSend = code === operations.send.code
              if (!isSend && code !== operations.commit.code) continue
              const read = isSend ? decode(operations.send.request, body) : decode(operations.commit.request, body)
              const { generation, epoch } = read
              const conversation = toBase64url(read.conversation)
              const sealed = { epoch, by, ...('roster' in read ? { committed: committedOf(read) } : {}) }
              asked.set(request, { ...sealed, conversation, generation })
              if ('sealed' in read) this.#sealed.set(digestOf(read.sealed), sealed)
            }
            channel.send(message)
          },
          close: () => channel.close(),
        }
      },
    }
  }

  #delivered(body: Uint8Array, reader: string): void {
    const { conversation, generation, sequence, kind, sealed } = decode(events.deliver.body, body)
    const place = { conversation: toBase64url(conversation), generation }
    if (kind === 'commit') {
      const delivered = decode(DeliveredCommit, sealed)
      const { epoch, sender } = delivered
      this.#note({ ...place, epoch, by: toBase64url(sender), committed: committedOf(delivered) }, sequence)
      const entry = this.of(place.conversation, generation).get(sequence)
      if (entry?.kind === 'commit') entry.readers.add(reader)
    } else if (kind === 'application') {
      const known = this.#sealed.get(digestOf(sealed))
      if (known !== undefined) this.#note({ ...place, ...known }, sequence)
    }
  }

  #note(
    { conversation, generation, epoch, by, committed }: Sealed & { conversation: string; generation: number },
    sequence: number,
  ): void {
    const key = `${conversation}/${generation}`
    const entries = this.#entries.get(key) ?? new Map<number, Entry>()
    this.#entries.set(key, entries)
    if (entries.has(sequence)) return
    this.#recorded += 1
    const recorded = this.#recorded
    entries.set(
      sequence,
      committed === undefined
        ? { kind: 'send', epoch, by, recorded }
        : { kind: 'commit', epoch, by, recorded, readers: new Set(), ...committed },
    )
  }
}

function committedOf({ commit, roster }: Pick<DeliveredCommit, 'commit' | 'roster'>): Committed {
  return { roster: roster.map(toBase64url), digest: digestOf(commit) }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64')
}
