import { Generations } from './generations.ts'
import type { ReaderThread } from './readerthread.ts'

const devicesMax = 65_536

interface Acknowledged {
  through: number
  loading: Promise<void> | undefined
}

/** How far devices have acknowledged, for those who asked lately. */
export class Acknowledgements {
  readonly #reader: Pick<ReaderThread, 'ask'>
  readonly #devices: Generations<Acknowledged>

  constructor(reader: Pick<ReaderThread, 'ask'>, remembered = devicesMax) {
    this.#reader = reader
    this.#devices = new Generations<Acknowledged>(remembered, ({ loading }) => loading === undefined)
  }

  async of(device: number): Promise<number> {
    const known = this.#devices.get(device) ?? this.#load(device)
    await known.loading
    return known.through
  }

  /** A device's acknowledgement is durable. */
  acknowledged(device: number, through: number): void {
    const known = this.#devices.get(device)
    if (known !== undefined) known.through = Math.max(known.through, through)
  }

  #load(device: number): Acknowledged {
    const own: Acknowledged = { through: 0, loading: undefined }
    own.loading = this.#reader.ask({ kind: 'acknowledged', device }).then(
      (through) => {
        own.loading = undefined
        own.through = Math.max(own.through, through)
      },
      (error: unknown) => {
        this.#devices.forget(device)
        throw error
      },
    )
    this.#devices.set(device, own)
    return own
  }
}
