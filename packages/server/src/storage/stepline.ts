import { ProtocolError } from '@messageu/protocol'

/** A step whose turn comes. */
export interface Entrant {
  /** Everything in front has entered, and what it waited for is there. */
  enter(): void
  refuse(error: Error): void
}

interface Waiting {
  readonly entrant: Entrant
  isReady: boolean
}

/**
 * Lets steps enter in the order of the calls. One whose contents are still being written to files holds up everything
 * behind it: what was decided on its effect must not come before it. Files of several are written at the same time.
 */
export class StepLine {
  #waiting: Waiting[] = []
  #refusal: Error | undefined
  #emptied: (() => void) | undefined

  /** Throws what the step in front was refused with, as long as its caller may not have been told. */
  mustBeOpen(): void {
    if (this.#refusal !== undefined) throw this.#refusal
  }

  join(entrant: Entrant, ready?: Promise<unknown>): void {
    if (ready === undefined && this.#waiting.length === 0) {
      entrant.enter()
      return
    }
    const waiting: Waiting = { entrant, isReady: ready === undefined }
    this.#waiting.push(waiting)
    this.#advance()
    ready?.then(
      () => {
        waiting.isReady = true
        this.#advance()
      },
      (error: Error) => this.#refuseFrom(this.#waiting.indexOf(waiting), error),
    )
  }

  /** A step that had entered was refused: so are all behind it, and those that come before its caller has been told. */
  refused(error: Error): void {
    this.#refuseFrom(0, error)
  }

  /** A step that was just called is refused: so are those that come before its caller has been told. */
  turnedAway(error: Error): void {
    if (this.#refusal !== undefined || !(error instanceof ProtocolError)) return
    this.#refusal = error
    // whoever waits for a promise goes on before the next turn of the event loop
    setImmediate(() => {
      this.#refusal = undefined
    })
  }

  /** Resolves when nobody waits. */
  async drained(): Promise<void> {
    if (this.#waiting.length > 0)
      await new Promise<void>((resolve) => {
        this.#emptied = resolve
      })
  }

  #advance(): void {
    for (let first = this.#waiting[0]; first?.isReady === true; first = this.#waiting[0]) {
      this.#waiting.shift()
      first.entrant.enter()
    }
    if (this.#waiting.length === 0) this.#emptied?.()
  }

  #refuseFrom(index: number, error: Error): void {
    if (index === -1) return // refused before
    this.turnedAway(error)
    for (const { entrant } of this.#waiting.splice(index)) entrant.refuse(error)
    this.#advance()
  }
}
