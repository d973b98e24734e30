import { sourceOf } from './registrationrates.ts'

/** How many connections there are, in all and of each source: an address, or the IPv6 network of one subscriber. */
export class Admission {
  readonly #max: { readonly perSource: number; readonly total: number }
  readonly #isLocal: (remote: string) => boolean
  readonly #perSource = new Map<string, number>()
  #total = 0

  constructor(max: { perSource: number; total: number }, isLocal: (remote: string) => boolean) {
    this.#max = max
    this.#isLocal = isLocal
  }

  /** Takes a place for somebody; false if there is none. This machine's own connections count in the total only. */
  enter(remote: string): boolean {
    const source = sourceOf(remote)
    const ofSource = this.#perSource.get(source) ?? 0
    if (this.#total >= this.#max.total) return false
    if (ofSource >= this.#max.perSource && !this.#isLocal(remote)) return false
    this.#total += 1
    this.#perSource.set(source, ofSource + 1)
    return true
  }

  leave(remote: string): void {
    const source = sourceOf(remote)
    const left = (this.#perSource.get(source) ?? 1) - 1
    this.#total -= 1
    if (left > 0) this.#perSource.set(source, left)
    else this.#perSource.delete(source)
  }
}
