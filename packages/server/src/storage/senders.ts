import type { SendId } from '@messageu/protocol/v3'
import type { Sends, SentRecord, Stepped } from '../archive.ts'
import { unpackSent } from './deeds.ts'
import { DeviceSends, type SendFields } from './devicesends.ts'
import { Generations } from './generations.ts'
import type { ReaderThread } from './readerthread.ts'
import type { SentRun } from './sentrun.ts'

/** Records of all devices together: so many are remembered, and at times twice as many. 64 bytes each. */
const slotsMax = 2 ** 19

interface Sender {
  readonly sends: DeviceSends
  loading: Promise<void> | undefined
}

/** What devices have sent lately, in memory; what is not there is read back. */
export class Senders {
  readonly #reader: Pick<ReaderThread, 'ask'>
  readonly #senders: Generations<Sender>

  constructor(reader: Pick<ReaderThread, 'ask'>, remembered = slotsMax) {
    this.#reader = reader
    this.#senders = new Generations<Sender>(
      remembered,
      ({ sends, loading }) => !sends.isUnderWay && loading === undefined,
      ({ sends }) => sends.slots,
    )
  }

  async sends(device: number): Promise<Sends> {
    const sender = this.#of(device)
    if (!sender.sends.isWhole) await this.#load(device, sender)
    return sender.sends
  }

  /** What is in memory, if that is whole. */
  peek(device: number): Sends | undefined {
    const { sends } = this.#of(device)
    return sends.isWhole ? sends : undefined
  }

  async find(device: number, number: number): Promise<SentRecord | undefined> {
    await this.#of(device).sends.outcome(number)
    const recent = this.#of(device).sends.get(number)
    return recent ?? (await this.#reader.ask({ kind: 'sent', device, number }))
  }

  begin(id: SendId, sent: SendFields): void {
    this.#begin(sent.device, (sends) => sends.begin(id, sent))
  }

  beginRun(run: SentRun): void {
    this.#begin(run.place.device, (sends) => sends.beginRun(run))
  }

  acceptedRun({ place, numbers }: SentRun, { positions, at }: Stepped): void {
    const { sends } = this.#of(place.device)
    const first = positions.length - numbers.length
    for (let i = 0; i < numbers.length; i++)
      sends.accepted({ number: numbers[i] as number, position: positions[first + i] as number, at }) // one for each
  }

  accepted({ device, ...sent }: Pick<SentRecord, 'device' | 'number' | 'position' | 'at'>): void {
    this.#of(device).sends.accepted(sent)
  }

  refusedRun({ place, numbers }: SentRun): void {
    for (const number of numbers) this.refused(place.device, number)
  }

  refused(device: number, number: number): void {
    this.#of(device).sends.refused(number)
  }

  /** What is begun may need more slots. */
  #begin(device: number, begin: (sends: DeviceSends) => void): void {
    const { sends } = this.#of(device)
    const slots = sends.slots
    begin(sends)
    if (sends.slots > slots) this.#senders.grew(sends.slots - slots)
  }

  #of(device: number): Sender {
    const known = this.#senders.get(device)
    if (known !== undefined) return known
    const sender: Sender = { sends: new DeviceSends(device), loading: undefined }
    this.#senders.set(device, sender)
    return sender
  }

  #load(device: number, sender: Sender): Promise<void> {
    sender.loading ??= this.#reader
      .ask({ kind: 'sends', device })
      .then((records) => {
        for (const record of unpackSent(device, records)) sender.sends.add(record)
        sender.sends.isWhole = true
      })
      .finally(() => {
        sender.loading = undefined
      })
    return sender.loading
  }
}
