import type { Socket } from 'node:net'
import type { Piece } from '../storage.ts'
import type { V2Limits } from './limits.ts'

/**
 * Writes pieces to a socket with a few of them under way, at the speed of the reader. While it works, nothing is read
 * from the socket, so that while pieces are under way the socket's own time-out means one thing: nothing more leaves.
 * While there are none it means that the disk is slow, for which no peer is let go.
 */
export class Pump {
  readonly #socket: Socket
  readonly #limits: V2Limits
  #underWay = 0
  #stopped = false
  #wake: (() => void) | undefined

  constructor(socket: Socket, limits: V2Limits) {
    this.#socket = socket
    this.#limits = limits
  }

  /**
   * True when the last byte was handed to the network, false when the socket is gone or stands still. Rejects with what
   * the pieces throw. To be called once.
   */
  async run(pieces: Iterable<Piece> | AsyncIterable<Piece>): Promise<boolean> {
    const socket = this.#socket
    const silence = (): void => {
      if (this.#underWay > 0) this.stop()
    }
    socket.setNoDelay(true)
    socket.pause()
    socket.setTimeout(this.#limits.writeSilenceMs) // begins anew with every write
    socket.on('timeout', silence)
    try {
      for await (const piece of pieces) {
        this.#write(piece)
        await this.#fewerThan(this.#limits.piecesUnderWayMax)
        if (this.#stopped) return false
      }
      await this.#fewerThan(1)
      return !this.#stopped
    } finally {
      socket.off('timeout', silence)
      socket.setTimeout(0)
      socket.resume()
    }
  }

  /** Ends the run: nothing more can be written. */
  stop(): void {
    this.#stopped = true
    this.#wake?.()
  }

  #write(piece: Piece): void {
    this.#underWay += 1
    this.#socket.write(piece.bytes, (error) => {
      this.#underWay -= 1
      piece.release()
      if (error) this.stop()
      this.#wake?.()
    })
  }

  async #fewerThan(pieces: number): Promise<void> {
    while (this.#underWay >= pieces && !this.#stopped)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
  }
}
