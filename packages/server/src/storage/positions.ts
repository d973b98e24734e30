import { positionAfter } from './records.ts'

/** Gives out positions, for both versions: they grow over the whole server, and none is given twice. */
export class Positions {
  #highest: number

  constructor(highest: number) {
    this.#highest = highest
  }

  get highest(): number {
    return this.#highest
  }

  next(): number {
    this.#highest = positionAfter(this.#highest)
    return this.#highest
  }
}
