import { type DeviceId, toBase64url } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { fraction } from '../clock.ts'
import { ClientError } from '../errors.ts'
import { isOn } from '../lists.ts'
import type { Outcome } from '../outbox.ts'
import { orAborted } from '../waiting.ts'
import type { Desk, Wait } from './desk.ts'
import { give, type Progress, type Recipient } from './giving.ts'
import { messagingLimits as limits } from './limits.ts'
import { accountOf, amongOwn } from './managing.ts'
import { dropNewcomer, type Newcomer, newcomersIn, noteAdmitted } from './newcomers.ts'
import { enterOwnDevices } from './own-devices.ts'
import type { Sending } from './sending.ts'
import { write } from './writing.ts'

/** How often a new device is looked for until it can be brought in. */
const lookMs = 1_000

/** Sees to it that new devices of the account are given everything: by whoever admits them, or later by the keeper. */
export class Settling {
  readonly #desk: Desk
  readonly #sending: Sending
  /** When everybody who came before has had their turn. Never rejects. */
  #turn: Promise<unknown> = Promise.resolve()
  #inLine = 0
  /** When a device is due, by the clock that never jumps, and how often it was tried. */
  readonly #due = new Map<string, { readonly ms: number; readonly attempts: number }>()

  constructor(desk: Desk, sending: Sending) {
    this.#desk = desk
    this.#sending = sending
  }

  /** Resolves when `list` has put the device on the list, and the server has everything that it is given. */
  async admit(
    { device, isManager, tell }: Pick<Newcomer, 'device' | 'isManager'> & Pick<Recipient, 'tell'>,
    list: () => Promise<void>,
    wait: Wait,
  ): Promise<void> {
    const desk = this.#desk
    const { ownDevices } = await accountOf(desk)
    let conversations = 0
    const telling = (progress: Progress): void => {
      if (progress.kind === 'brought-in') conversations = progress.conversations
      tell(progress)
    }
    try {
      const outcomes = await this.#inTurn(wait, async () => {
        await write(desk, (work) => noteAdmitted(work, { device, isManager }))
        await list()
        const among = await enterOwnDevices(desk, wait)
        return this.#giveAll({ device, among, tell: telling }, wait)
      })
      for (const outcome of await orAborted(Promise.all(outcomes), wait.signal))
        if (outcome.kind === 'refused') throw outcome.error
      tell({ kind: 'history', conversations })
    } finally {
      // if it has ended too early, the keeper goes on with it
      if (ownDevices !== undefined) desk.tools.touched(ownDevices)
      desk.tools.written()
    }
  }

  /** Settles whom nobody waits for. Milliseconds until somebody is due again, if anybody is. */
  async tend(wait: Wait): Promise<number | undefined> {
    if (this.#inLine > 0) return undefined // whoever is admitting a device says so when it is over
    const now = this.#desk.clock.monotonicMs()
    const newcomers = await newcomersIn(this.#desk.store)
    const isNew = newcomers.some(({ device }) => sameBytes(device, this.#desk.tools.me.self.device))
    // whoever waits for everything itself does not stand in for others
    const open = newcomers.filter(({ isAdmitted }) => isAdmitted || !isNew)
    for (const newcomer of open)
      if (this.#dueMs(newcomer) <= now && (await this.#inTurn(wait, () => this.#serve(newcomer, wait))))
        this.#due.delete(toBase64url(newcomer.device))
    const dues = open.flatMap(({ device }) => this.#due.get(toBase64url(device))?.ms ?? [])
    return dues.length === 0 ? undefined : Math.max(0, Math.min(...dues) - this.#desk.clock.monotonicMs())
  }

  /** Whoever has admitted it goes first; its siblings wait for a while that each has thrown for itself. */
  #dueMs({ device, isAdmitted }: Newcomer): number {
    const name = toBase64url(device)
    const known = this.#due.get(name)
    if (known !== undefined) return known.ms
    const span = limits.settleDelayMaxMs - limits.settleDelayMinMs
    const delayMs = isAdmitted ? 0 : limits.settleDelayMinMs + fraction(this.#desk.random) * span
    const ms = Math.ceil(this.#desk.clock.monotonicMs() + delayMs)
    this.#due.set(name, { ms, attempts: 0 })
    return ms
  }

  /** Whether nothing is left to do for it. */
  async #serve({ device }: Newcomer, wait: Wait): Promise<boolean> {
    const name = toBase64url(device)
    const attempts = this.#due.get(name)?.attempts ?? 0
    const retryMs = Math.min(limits.dutyRetryMs * 2 ** Math.min(attempts, 10), limits.dutyRetryMaxMs)
    this.#due.set(name, { ms: this.#desk.clock.monotonicMs() + retryMs, attempts: attempts + 1 })
    if (!(await this.#isListed(device, wait))) {
      await write(this.#desk, async (work) => dropNewcomer(work, device))
      return true
    }
    const among = await amongOwn(this.#desk)
    return (
      among !== undefined &&
      (await give(this.#desk, this.#sending, { device, among, tell: () => {} }, wait)) !== 'early'
    )
  }

  async #giveAll(recipient: Recipient, wait: Wait): Promise<readonly Promise<Outcome>[]> {
    for (;;) {
      if (!(await this.#isListed(recipient.device, wait)))
        throw new ClientError('contested', 'another device has taken it off the list again')
      const given = await give(this.#desk, this.#sending, recipient, wait)
      if (given !== 'early') return given
      const over = Promise.withResolvers<void>()
      using _timer = this.#desk.clock.after(lookMs, () => over.resolve())
      await orAborted(over.promise, wait.signal)
    }
  }

  async #isListed(device: DeviceId, { signal }: Wait): Promise<boolean> {
    const { session, store, tools } = this.#desk
    return isOn(await tools.lists.refresh(store, tools.me.self.account, { asker: session.asker, signal }), device)
  }

  async #inTurn<T>({ signal }: Wait, work: () => Promise<T>): Promise<T> {
    const before = this.#turn
    this.#inLine += 1
    const turn = orAborted(before, signal)
      .then(work)
      .finally(() => {
        this.#inLine -= 1
      })
    this.#turn = Promise.allSettled([before, turn])
    return turn
  }
}
