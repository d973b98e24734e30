/** What follows a head: `content` bytes that are passed on in pieces, then a head of `head` bytes (0: nothing more). */
export interface Following {
  readonly content: number
  readonly head: number
}

export interface CutterEvents {
  /** A head is complete. The view is valid during the call only. */
  onHead(head: Uint8Array): Following
  /** The next piece of the content. The view belongs to the chunk that was pushed. */
  onContent?(piece: Uint8Array): void
  /** The last byte of a content was passed on; also called for a content of no bytes. */
  onContentEnd?(): void
  /** Nothing more is expected: what follows in the stream is not ours. */
  onEnd?(): void
}

/**
 * Cuts a byte stream that arrives in pieces of any size into heads of known size and contents of any size. A head is
 * gathered, a content is passed on as it comes: the memory held is one head, whatever the content's size.
 */
export class Cutter {
  readonly #events: CutterEvents
  /** A head that comes in several chunks is gathered here. */
  #head: Uint8Array | undefined
  #headSize: number
  #gathered = 0
  #content = 0
  #phase: 'head' | 'content' | 'ended' | 'stopped' = 'head'

  constructor(firstHead: number, events: CutterEvents) {
    this.#headSize = firstHead
    this.#events = events
  }

  /** Whether the stream may end here: between two heads, or after the end. */
  get atBoundary(): boolean {
    return this.#phase === 'ended' || (this.#phase === 'head' && this.#gathered === 0)
  }

  get ended(): boolean {
    return this.#phase === 'ended'
  }

  get #stopped(): boolean {
    return this.#phase === 'stopped'
  }

  /**
   * Takes a chunk and returns how many of its bytes were used; bytes behind the end are not. What an event throws
   * leaves this call and stops the stream.
   */
  push(chunk: Uint8Array): number {
    try {
      return this.#cut(chunk)
    } catch (error) {
      this.stop()
      throw error
    }
  }

  /** Uses no byte from here on and tells of nothing more; may be called by an event. A stopped stream has not ended. */
  stop(): void {
    this.#phase = 'stopped'
  }

  #cut(chunk: Uint8Array): number {
    let at = 0
    while (at < chunk.length) {
      if (this.#phase === 'head') {
        const count = Math.min(this.#headSize - this.#gathered, chunk.length - at)
        const part = chunk.subarray(at, at + count)
        at += count
        if (count === this.#headSize) this.#headComplete(part)
        else this.#gather(part)
      } else if (this.#phase === 'content') {
        const count = Math.min(this.#content, chunk.length - at)
        this.#content -= count
        this.#events.onContent?.(count === chunk.length ? chunk : chunk.subarray(at, at + count))
        at += count
        if (this.#content === 0 && !this.#stopped) this.#contentComplete()
      } else break
    }
    return at
  }

  #gather(part: Uint8Array): void {
    if (this.#gathered === 0) this.#head = new Uint8Array(this.#headSize)
    const head = this.#head as Uint8Array // made for the first part
    head.set(part, this.#gathered)
    this.#gathered += part.length
    if (this.#gathered === this.#headSize) this.#headComplete(head)
  }

  #headComplete(head: Uint8Array): void {
    const following = this.#events.onHead(head)
    if (this.#stopped) return
    this.#headSize = following.head
    this.#content = following.content
    this.#gathered = 0
    this.#phase = 'content'
    if (this.#content === 0) this.#contentComplete()
  }

  #contentComplete(): void {
    this.#events.onContentEnd?.()
    if (this.#stopped) return
    this.#phase = this.#headSize > 0 ? 'head' : 'ended'
    if (this.ended) this.#events.onEnd?.()
  }
}
