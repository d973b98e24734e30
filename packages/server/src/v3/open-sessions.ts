import type { Account, Session, Sessions } from './services.ts'

/** The sessions that are open now, by their devices. */
export class OpenSessions implements Sessions {
  readonly #byDevice = new Map<number, Session>()

  get count(): number {
    return this.#byDevice.size
  }

  ofDevice(number: number): Session | undefined {
    return this.#byDevice.get(number)
  }

  ofAccount({ devices }: Account): readonly Session[] {
    return devices.map(({ number }) => this.#byDevice.get(number)).filter((session) => session !== undefined)
  }

  /** The newer session of a device takes the older one's place, which ends. */
  enter(session: Session): void {
    const older = this.#byDevice.get(session.device.number)
    this.#byDevice.set(session.device.number, session)
    older?.end({ kind: 'superseded', body: undefined })
  }

  leave(session: Session): void {
    if (this.#byDevice.get(session.device.number) === session) this.#byDevice.delete(session.device.number)
  }
}
