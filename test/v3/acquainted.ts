import assert from 'node:assert/strict'
import { type Ended, events } from '../../packages/cli/test/v2/world.ts'
import { ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { shell } from './shell.ts'

type Folder = Awaited<ReturnType<typeof temporaryFolder>>

/** A server, and people at their terminals none of whom is a stranger to another one. */
export class Acquainted implements AsyncDisposable {
  readonly folder: Folder
  server: ServerProcess

  private constructor(folder: Folder, server: ServerProcess) {
    this.folder = folder
    this.server = server
  }

  static async start(...names: readonly string[]): Promise<Acquainted> {
    const folder = await temporaryFolder('memory')
    const people = new Acquainted(folder, await ServerProcess.start({ folder: folder.of('server') }))
    for (const name of names) assert.equal((await people.run(name, 'register', name)).code, 0)
    for (const [i, one] of names.entries())
      for (const other of names.slice(i + 1)) {
        assert.equal((await people.run(one, 'requests', 'accept', other)).code, 0)
        assert.equal((await people.run(other, 'requests', 'accept', one)).code, 0)
      }
    return people
  }

  /** The folder that their profiles are in. */
  get profiles(): string {
    return this.folder.of('profiles')
  }

  /** `messageu` as one of them. */
  run(profile: string, ...args: readonly string[]): Promise<Ended> {
    return this.piped(profile, args, '')
  }

  piped(profile: string, args: readonly string[], input: string | Buffer): Promise<Ended> {
    return shell(this.folder, this.server.link)([...args, '--profile', profile], input)
  }

  /** Everything that came in for somebody, of one kind. */
  async heard(profile: string, event = 'message'): Promise<Record<string, unknown>[]> {
    const ended = await this.run(profile, 'listen', '--once', '--json')
    assert.equal(ended.code, 0, ended.out)
    return events(ended).filter((each) => each.event === event)
  }

  /** The server, after its end, where it was. */
  async restart(): Promise<void> {
    const flags = ['--port', String(this.server.http.port)]
    this.server = await ServerProcess.start({ folder: this.folder.of('server'), flags })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]()
    await this.folder[Symbol.asyncDispose]()
  }
}

export const textsOf = (messages: readonly Record<string, unknown>[]): unknown[] =>
  messages.map(({ content }) => (content as { text?: string }).text)
