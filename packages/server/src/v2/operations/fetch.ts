import assert from 'node:assert'
import { ProtocolError } from '@messageu/protocol'
import { answerHeader, limits as protocolLimits } from '@messageu/protocol/v2'
import type { Client, Fetched, Piece } from '../../storage.ts'
import type { Connection, Work } from '../connection.ts'
import { beginDelivery, type Delivery, type DeliveryEvent, next } from '../delivery.ts'
import type { Operation, Services } from '../host.ts'
import { Pump } from '../pump.ts'

/** Everything that waits for the asker; forgotten when it was delivered, and only then. §3.5, §8 */
export const fetch: Operation<'fetch'> = (services, _, connection, asker) => {
  let serving: Work | undefined
  const turn = services.turns.take(asker.number, (granted) => {
    serving = {}
    try {
      serving = deliver(services, asker, connection, granted)
    } catch (error) {
      granted[Symbol.dispose]()
      connection.fail(error)
    }
  })
  const giveUp = (why: string): void => {
    turn[Symbol.dispose]()
    connection.fail(new ProtocolError('busy', why))
  }
  return {
    onComplete() {
      if (serving === undefined) connection.due(services.limits.turnMs)
    },
    onPeerEnd() {
      if (serving === undefined) giveUp('the peer left while another fetch of its mailbox was under way')
      else serving.onPeerEnd?.()
    },
    onDeadline() {
      if (serving === undefined) giveUp('another fetch of the mailbox is under way')
      else serving.onDeadline?.()
    },
    onClose(clean) {
      turn[Symbol.dispose]()
      serving?.onClose?.(clean)
    },
  }
}

/** Answers with what waits now, and holds the turn until it is clear what became of it. */
function deliver(services: Services, asker: Client, connection: Connection, turn: Disposable): Work {
  const fetched = services.storage.waiting(asker, protocolLimits.responsePayloadBytesMax)
  if (fetched.positions.length === 0) {
    turn[Symbol.dispose]()
    connection.answer(answerHeader('fetch', 0))
    return {}
  }
  const share = services.transfers.take(1)
  if (share === undefined) throw new ProtocolError('busy', 'too many deliveries at once')
  return new DeliveryWork(services, connection, fetched, () => {
    share[Symbol.dispose]()
    turn[Symbol.dispose]()
  })
}

const noBytes = new Uint8Array(0)
const joinedBytesMax = 2 ** 19

/** Does what each phase of a delivery asks for. */
class DeliveryWork implements Work {
  readonly #services: Services
  readonly #connection: Connection
  readonly #fetched: Fetched
  readonly #ended: () => void
  readonly #pump: Pump
  #delivery: Delivery = beginDelivery

  constructor(services: Services, connection: Connection, fetched: Fetched, ended: () => void) {
    this.#services = services
    this.#connection = connection
    this.#fetched = fetched
    this.#ended = ended
    this.#pump = new Pump(connection.socket, services.limits)
    connection.delivering(fetched.bytes)
    this.#pump.run(this.#pieces()).then(
      (whole) => this.#on(whole ? 'written' : 'failed'),
      (error: unknown) => {
        connection.report(error)
        this.#on('failed')
      },
    )
  }

  onPeerEnd(): void {
    this.#on('peer-ended')
  }

  onDeadline(): void {
    switch (this.#delivery.phase) {
      case 'holding':
        this.#on('hold-over')
        break
      case 'settling':
        this.#on('settle-over')
        break
      case 'writing':
      case 'probing':
      case 'closing':
        this.#on('failed')
        break
      case 'judged':
    }
  }

  onClose(clean: boolean): void {
    this.#pump.stop()
    this.#on(clean ? 'closed' : 'failed')
  }

  /** The answer's header travels with the first piece, unless that is a large one. */
  async *#pieces(): AsyncGenerator<Piece> {
    let header: Uint8Array | undefined = answerHeader('fetch', this.#fetched.bytes)
    let left = this.#fetched.bytes
    for await (const piece of this.#services.storage.read(this.#fetched)) {
      if (header !== undefined && piece.bytes.length <= joinedBytesMax) {
        yield { bytes: Buffer.concat([header, piece.bytes]), release: () => piece.release() }
      } else {
        if (header !== undefined) yield { bytes: header, release() {} }
        yield piece
      }
      header = undefined
      left -= piece.bytes.length
    }
    assert(left === 0, 'what is delivered is as long as it was announced')
  }

  #on(event: DeliveryEvent): void {
    const before = this.#delivery
    this.#delivery = next(before, event)
    if (this.#delivery.phase !== before.phase) this.#enter(this.#delivery)
  }

  #enter(delivery: Delivery): void {
    const { limits } = this.#services
    const { socket } = this.#connection
    switch (delivery.phase) {
      case 'holding':
        this.#after(limits.holdMs + this.#stillToLeaveMs, 'hold-over')
        break
      case 'settling':
        this.#after(limits.settleMs, 'settle-over')
        break
      case 'probing':
        socket.write(noBytes, (error) => this.#on(error ? 'failed' : 'probed'))
        break
      case 'closing':
        this.#connection.due(limits.closeMs)
        socket.end()
        break
      case 'judged':
        this.#judged(delivery.delivered)
        break
      case 'writing':
    }
  }

  /** What a slow network needs for the bytes that our own system still holds: a reset may follow any of them. */
  get #stillToLeaveMs(): number {
    const { systemBufferBytesMax, slowestBytesPerMs } = this.#services.limits
    return Math.min(this.#fetched.bytes, systemBufferBytesMax) / slowestBytesPerMs
  }

  /** A peer on this machine resets at once: there is nothing to wait for. */
  #after(ms: number, event: 'hold-over' | 'settle-over'): void {
    if (this.#connection.local) this.#on(event)
    else this.#connection.due(ms)
  }

  #judged(delivered: boolean): void {
    const { positions, bytes } = this.#fetched
    this.#services.fetched({ messages: positions.length, bytes, delivered })
    if (!delivered) {
      this.#connection.socket.destroy()
      this.#ended()
      return
    }
    this.#services.storage
      .discard(this.#fetched)
      .catch((error: unknown) =>
        this.#connection.report(new ProtocolError('internal', `what was delivered stays and comes again: ${error}`)),
      )
      .finally(this.#ended)
  }
}
