/** Somebody who wants the turn and can be told that it has come. */
interface Waiting {
  granted(turn: Disposable): void
}

/** One fetch of a mailbox at a time: a turn ends when what was fetched is forgotten, or is known to be kept. */
export class Turns {
  readonly #queues = new Map<number, Waiting[]>()
  readonly #whenOver: (() => void)[] = []

  /** Calls `granted` when it is the caller's turn, at once if nobody has it. The result gives up waiting. */
  take(mailbox: number, granted: (turn: Disposable) => void): Disposable {
    const waiting: Waiting = { granted }
    const queue = this.#queues.get(mailbox)
    if (queue === undefined) {
      this.#queues.set(mailbox, [])
      granted(this.#turn(mailbox))
      return { [Symbol.dispose]() {} }
    }
    queue.push(waiting)
    return {
      [Symbol.dispose]() {
        const place = queue.indexOf(waiting)
        if (place >= 0) queue.splice(place, 1)
      },
    }
  }

  /** Resolves when nobody has a turn. */
  async over(): Promise<void> {
    if (this.#queues.size > 0) await new Promise<void>((resolve) => this.#whenOver.push(resolve))
  }

  #turn(mailbox: number): Disposable {
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (!held) return
        held = false
        if (this.#queues.get(mailbox)?.length === 0) this.#free(mailbox)
        else setImmediate(() => this.#pass(mailbox)) // a long queue neither recurses nor holds up others
      },
    }
  }

  #pass(mailbox: number): void {
    const following = this.#queues.get(mailbox)?.shift()
    if (following === undefined) this.#free(mailbox)
    else following.granted(this.#turn(mailbox))
  }

  #free(mailbox: number): void {
    this.#queues.delete(mailbox)
    if (this.#queues.size === 0) for (const tell of this.#whenOver.splice(0)) tell()
  }
}
