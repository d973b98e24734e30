import { encode } from '@messageu/protocol'
import { events, type Notice, writeFrame } from '@messageu/protocol/v3'
import type { Connection } from './connection.ts'
import type { Device, Session } from './services.ts'
import type { Ending } from './session.ts'

/** The connection of a proved device, as operations and deliveries see it. */
export class ProvedSession implements Session {
  readonly device: Device
  readonly remote: string
  readonly #connection: Connection

  constructor(device: Device, connection: Connection) {
    this.device = device
    this.remote = connection.remote
    this.#connection = connection
  }

  get isOpen(): boolean {
    return this.#connection.isOpen
  }

  get backlog(): number {
    return this.#connection.wire.backlog
  }

  send(frames: Uint8Array, deliveries = 0): void {
    if (this.isOpen) this.#connection.wire.send(frames, deliveries)
  }

  notice(notice: Notice): void {
    this.send(writeFrame({ code: events.notice.code, request: 0, body: encode(events.notice.body, notice) }))
  }

  end(notice: Notice): void {
    this.notice(notice)
    this.#connection.end(endingOf(notice))
  }

  onDrain(listener: () => void): void {
    this.#connection.wire.onDrain(listener)
  }
}

function endingOf({ kind }: Notice): Ending {
  return kind === 'superseded' || kind === 'delisted' || kind === 'stopping' ? kind : 'internal'
}
