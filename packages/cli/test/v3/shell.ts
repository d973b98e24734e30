import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Writable } from 'node:stream'
import { type Clock, systemClock, systemRandom } from '@messageu/client'
import { formatLink } from '@messageu/protocol/v3'
import { FakeServer } from '../../../client/test/fake-server.ts'
import { asFailure } from '../../src/failure.ts'
import { complain } from '../../src/output.ts'
import { register } from '../../src/v3/account.ts'
import type { Context } from '../../src/v3/context.ts'
import { asClientFailure } from '../../src/v3/failing.ts'

/** What a command printed, and the exit status that its end stands for. */
export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Commands of version 3 in this process, at a server that can be told to lie. */
export class Shell<S extends FakeServer = FakeServer> implements AsyncDisposable {
  readonly server: S
  readonly folder: string

  private constructor(server: S, folder: string) {
    this.server = server
    this.folder = folder
  }

  static async open(): Promise<Shell> {
    return Shell.at(await FakeServer.start())
  }

  static async at<S extends FakeServer>(server: S): Promise<Shell<S>> {
    return new Shell(server, await mkdtemp(path.join(tmpdir(), 'messageu-v3-')))
  }

  get link(): string {
    return formatLink(this.server.link)
  }

  /** A path in the folder of this test. */
  of(name: string): string {
    return path.join(this.folder, name)
  }

  /** Runs a command as the program does: whatever it throws is told where results are told. */
  async run(
    command: (context: Context) => Promise<void>,
    { as = 'alice', json = false, clock = systemClock }: { as?: string; json?: boolean; clock?: Clock } = {},
  ): Promise<Ended> {
    const out = new Gathered()
    const err = new Gathered()
    const output = { json, out, err }
    const world = { transport: this.server, clock, random: systemRandom }
    let code = 0
    try {
      await command({ output, folder: this.of(as), signal: new AbortController().signal, world })
    } catch (error) {
      const failure = asFailure(asClientFailure(error))
      code = failure.exitCode
      await complain(output, failure)
    }
    return { code, out: out.text, err: err.text }
  }

  /** A new account with a profile of its name. */
  async register(name: string): Promise<Ended> {
    const given = { name, server: this.link, wordsFile: this.of(`${name}.words`) }
    return this.run((context) => register(context, given), { as: name })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.folder, { recursive: true })
  }
}

class Gathered extends Writable {
  text = ''

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString()
    done()
  }
}

export function eventsIn({ out }: Ended): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}
