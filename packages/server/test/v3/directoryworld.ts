import assert from 'node:assert/strict'
import { ProtocolError } from '@messageu/protocol'
import {
  type Invite,
  type KeyPackage,
  type PublicKey,
  type Refusal,
  refusalOf as wireRefusalOf,
} from '@messageu/protocol/v3'
import type { Archive, Step } from '../../src/archive.ts'
import { ArchiveContacts } from '../../src/v3/contacts.ts'
import { ArchiveDirectory } from '../../src/v3/directory.ts'
import { GivenNumbers } from '../../src/v3/numbers.ts'
import type { Account, Clock, Conversations, Device, Policy, Services, Session } from '../../src/v3/services.ts'
import { startArchive } from '../storage/archiveworld.ts'
import { newServerKey, Person, random } from './person.ts'

export const kinds = ['memory', 'sqlite'] as const

export const hourMs = 3_600_000
export const dayMs = 24 * hourMs

/** Clocks that go and jump when the test says so. */
export class TestClock implements Clock {
  #wallMs = 1_800_000_000_000
  #steadyMs = 5_000

  nowMs(): number {
    return this.#wallMs
  }

  monotonicMs(): number {
    return this.#steadyMs
  }

  /** Time goes by. */
  pass(ms: number): void {
    this.#wallMs += ms
    this.#steadyMs += ms
  }

  /** Somebody sets the clock. */
  jump(ms: number): void {
    this.#wallMs += ms
  }
}

export interface DirectoryWorld extends AsyncDisposable {
  readonly directory: ArchiveDirectory
  readonly contacts: ArchiveContacts
  readonly numbers: GivenNumbers
  readonly archive: FaultyArchive
  readonly clock: TestClock
  readonly policy: { -readonly [K in keyof Policy]: Policy[K] }
  readonly serverKey: PublicKey
  /** What the listeners of the directory were told. */
  readonly told: { account: Account; delisted: readonly Device[] }[]
  readonly warned: { device: Device; singleUse: number; hasLastResort: boolean }[]
  person(name: string): Person
  /** Somebody with an account. */
  register(name: string, invite?: Invite): Promise<{ person: Person; account: Account; device: Device }>
  /** What operations are given, with the conversations that the test thinks up. */
  services(conversations?: Partial<Conversations>): Services
  /** All that was in memory is gone. */
  restart(): Promise<void>
}

export async function startDirectory(kind: string, wishes: Partial<Policy> = {}): Promise<DirectoryWorld> {
  const clock = new TestClock()
  const stored = await startArchive(kind, { nowMs: () => clock.nowMs() })
  const serverKey = newServerKey()
  const policy = { registration: 'open' as Policy['registration'], directory: true, quotaBytes: 1_000_000, ...wishes }
  const told: DirectoryWorld['told'] = []
  const warned: DirectoryWorld['warned'] = []

  const open = async () => {
    const archive = new FaultyArchive(stored.archive)
    const numbers = await GivenNumbers.open(archive.faulty)
    const options = { archive: archive.faulty, numbers, clock, random, policy, serverKey }
    const directory = new ArchiveDirectory(options)
    directory.onChange((account, delisted) => told.push({ account, delisted }))
    directory.onPackagesLow((device, count) => warned.push({ device, ...count }))
    return { archive, numbers, directory, contacts: new ArchiveContacts(archive.faulty, directory) }
  }
  let parts = await open()
  const world: DirectoryWorld = {
    get directory() {
      return parts.directory
    },
    get contacts() {
      return parts.contacts
    },
    get numbers() {
      return parts.numbers
    },
    get archive() {
      return parts.archive
    },
    clock,
    policy,
    serverKey,
    told,
    warned,
    person: (name) => new Person(name, serverKey),
    async register(name, invite) {
      const person = world.person(name)
      const { account } = await world.directory.register(person.registration(invite), () => [])
      return { person, account, device: only(account.devices) }
    },
    services: (conversations = {}) => ({
      directory: parts.directory,
      contacts: parts.contacts,
      conversations: { ...noConversations, ...conversations },
      deliveries: { attach: unexpected, detach: unexpected, credit: unexpected, acknowledge: unexpected },
      sessions: { ofDevice: unexpected, ofAccount: unexpected, count: 0 },
      clock,
      random,
      policy,
      serverKey,
    }),
    async restart() {
      await stored.restart()
      parts = await open()
    },
    [Symbol.asyncDispose]: () => stored[Symbol.asyncDispose](),
  }
  return world
}

const noConversations: Conversations = {
  founding: () => [],
  acquaintances: async () => [],
  areAcquainted: async () => false,
  storedBytes: async () => 0,
}

function unexpected(): never {
  throw new Error('this test did not expect to be asked')
}

/** The session of a device, as far as operations of the directory need one. */
export function sessionOf(device: Device): Session {
  return {
    device,
    isOpen: true,
    backlog: 0,
    send: unexpected,
    notice: unexpected,
    end: unexpected,
    onDrain: unexpected,
  }
}

/** An archive whose disk fails, or is slow, when the test says so. */
class FaultyArchive {
  readonly faulty: Archive
  /** Steps that were called. */
  steps = 0
  #failing = 0
  #begin: Promise<void> | undefined
  #end: Promise<void> | undefined
  #look: Promise<void> | undefined

  constructor(archive: Archive) {
    this.faulty = new Proxy(archive, {
      get: (target, property: keyof Archive) => {
        if (property === 'step') return (step: Step) => this.#step(target, step)
        if (property === 'get') return (...question: Parameters<Archive['get']>) => this.#get(target, question)
        const value = target[property]
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  /** The next steps are refused. */
  failNext(count = 1): void {
    this.#failing = count
  }

  /** Steps do not begin until the disk is let go. */
  hold(): Disposable {
    const [held, door] = gate()
    this.#begin = held
    return door
  }

  /** Steps are durable, but nobody is told until the disk is let go. */
  holdAnswers(): Disposable {
    const [held, door] = gate()
    this.#end = held
    return door
  }

  /** The next `get` sees what is stored now, and does not tell until it is let go. */
  holdNextGet(): Disposable {
    const [held, door] = gate()
    this.#look = held
    return door
  }

  async #step(archive: Archive, step: Step) {
    this.steps += 1
    await this.#begin
    if (this.#failing > 0) {
      this.#failing -= 1
      throw new ProtocolError('storage-full', 'the disk is full')
    }
    const stepped = await archive.step(step)
    await this.#end
    return stepped
  }

  async #get(archive: Archive, question: Parameters<Archive['get']>) {
    const look = this.#look
    this.#look = undefined
    const value = await archive.get(...question)
    await look
    return value
  }
}

function gate(): [Promise<void>, Disposable] {
  const { promise, resolve } = Promise.withResolvers<void>()
  return [promise, { [Symbol.dispose]: resolve }]
}

export function only<T>(items: readonly T[]): T {
  assert.equal(items.length, 1)
  return items[0] as T // there is one
}

/** Key packages that nobody else has. */
export function newPackages(count: number, { isLastResort = false, notAfter = 2 ** 52 } = {}): KeyPackage[] {
  return Array.from({ length: count }, () => ({ isLastResort, notAfter, keyPackage: random(40) }))
}

/** What something was refused with. */
export async function refusalOf(
  promise: Promise<unknown>,
): Promise<Pick<Refusal, 'reason' | 'retryAfterMs' | 'explanation'>> {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (reason: unknown) => reason,
  )
  const { reason, retryAfterMs, explanation } = wireRefusalOf(error)
  return { reason, retryAfterMs, explanation }
}

/** Why something was refused. */
export async function reasonOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    if (error instanceof ProtocolError) return error.reason
    throw error
  }
  return 'not refused'
}

/** How many were not refused, and why the others were. */
export async function outcomes(attempts: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const reason of await Promise.all(attempts.map(reasonOf))) counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}

/** Names of which no two look alike; their order is the order of the numbers. */
export function nameOf(number: number): string {
  const digits = String(number).padStart(4, '0')
  return `p${[...digits].map((digit) => 'abdefghkmp'[Number(digit)] ?? '').join('')}`
}
