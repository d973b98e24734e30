import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { type AccountRow, type Clock, systemClock } from '@messageu/client'
import type { ConversationId, DeviceId } from '@messageu/protocol/v3'
import { accountIn, type Context } from '../../packages/cli/src/v3/context.ts'
import { create } from '../../packages/cli/src/v3/groups.ts'
import { listen } from '../../packages/cli/src/v3/listen.ts'
import { judge } from '../../packages/cli/src/v3/people.ts'
import { send } from '../../packages/cli/src/v3/send.ts'
import { type Ended, eventsIn, Shell } from '../../packages/cli/test/v3/shell.ts'
import { FakeClock } from '../../packages/client/test/fake-clock.ts'
import { listenOnLoopback } from '../../packages/client/test/fake-listener.ts'
import { MessagingServer } from '../../packages/client/test/messaging/messaging-server.ts'
import { still } from '../../packages/client/test/messaging/stillness.ts'
import { type Exit, type Run, run } from '../serverProcess.ts'
import { textsOf } from './acquainted.ts'

type Event = Record<string, unknown>

interface Aside {
  /** As if it had been so long ago, in milliseconds. */
  readonly agoMs?: number
}

/**
 * People at their terminals, none of whom is a stranger to another one, and a server that does what a test tells it to.
 * What a test looks at runs in processes of its own; what leads up to it are the same commands in this one.
 */
export class Deceived implements AsyncDisposable {
  readonly #shell: Shell<MessagingServer>
  readonly #held: AsyncDisposableStack

  private constructor(shell: Shell<MessagingServer>, held: AsyncDisposableStack) {
    this.#shell = shell
    this.#held = held
  }

  static async start(...names: readonly string[]): Promise<Deceived> {
    await using starting = new AsyncDisposableStack()
    const server = await MessagingServer.start()
    server.nowMs = Date.now
    starting.use(await listenOnLoopback(server))
    const people = new Deceived(starting.use(await Shell.at(server)), starting.move())
    for (const name of names) await people.register(name)
    for (const one of names)
      for (const other of names.filter((each) => each !== one))
        await people.aside(one, (context) => judge(context, 'accept', other))
    return people
  }

  get server(): MessagingServer {
    return this.#shell.server
  }

  get link(): string {
    return this.#shell.link
  }

  /** Where the profile of that name is. */
  folderOf(profile: string): string {
    return this.#shell.of(profile)
  }

  accountOf(profile: string): Promise<AccountRow> {
    return accountIn(this.folderOf(profile))
  }

  async deviceOf(profile: string): Promise<DeviceId> {
    return (await this.accountOf(profile)).identity.device
  }

  async register(name: string): Promise<void> {
    assert.equal((await this.#shell.register(name)).code, 0)
  }

  /** `messageu` as one of them would type it. */
  run(profile: string, ...args: readonly string[]): Promise<Run & { exit: Exit }> {
    return run([...args, '--profile', profile, '--data-dir', this.#shell.folder])
  }

  /** The events of a command that succeeds. */
  async events(profile: string, ...args: readonly string[]): Promise<readonly Event[]> {
    const ended = await this.run(profile, ...args, '--json')
    assert.deepEqual(ended.exit, { code: 0, signal: null }, `${ended.out}${ended.err}`)
    return ended.events
  }

  /** A command for which a second passes whenever nothing else happens. */
  async overTime(profile: string, command: (context: Context) => Promise<unknown>): Promise<Ended> {
    const clock = new FakeClock()
    clock.jump(Date.now() - clock.nowMs())
    const ending = this.#shell.run(async (context) => void (await command(context)), { as: profile, json: true, clock })
    let ended: Ended | undefined
    void ending.then((end) => {
      ended = end
    })
    for (let seconds = 0; ended === undefined; seconds++) {
      assert(seconds < 600, 'it still waits after ten minutes')
      await still()
      await setTimeout(2) // files take their time as well
      await clock.pass(1_000)
    }
    return ended
  }

  // ─── what leads up to it ───

  /** A command without a process of its own, and perhaps some time ago. */
  async aside(
    profile: string,
    command: (context: Context) => Promise<unknown>,
    { agoMs = 0 }: Aside = {},
  ): Promise<readonly Event[]> {
    const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() - agoMs }
    const ended = await this.#shell.run(async (context) => void (await command(context)), {
      as: profile,
      json: true,
      clock,
    })
    assert.equal(ended.code, 0, ended.out)
    return eventsIn(ended)
  }

  /** Resolves with the sequence. */
  async say(profile: string, who: string, text: string, options: Aside = {}): Promise<number> {
    const [sent] = await this.aside(profile, (context) => send(context, who, [text]), options)
    return Number(sent?.sequence)
  }

  hear(profile: string, options: Aside = {}): Promise<readonly Event[]> {
    return this.aside(profile, (context) => listen(context, { once: true }), options)
  }

  /** A group in which everybody has arrived. */
  async group(by: string, title: string, ...others: readonly string[]): Promise<ConversationId> {
    await this.aside(by, (context) => create(context, title, others))
    for (const each of others) await this.hear(each)
    const ledger = [...this.server.ledgers.values()].findLast(({ kind }) => kind === 'group')
    assert(ledger !== undefined)
    return ledger.conversation
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.disposeAsync()
  }
}

/** What was said, apart from everything else that a command tells. */
export const textsIn = (events: readonly Event[]): unknown[] =>
  textsOf(events.filter(({ event, content }) => event === 'message' && (content as { kind: string }).kind === 'text'))

export const kindsOf = (events: readonly Event[]): unknown[] => events.map(({ event }) => event)
