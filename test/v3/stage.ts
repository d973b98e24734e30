import assert from 'node:assert/strict'
import type { ConversationId } from '@messageu/protocol/v3'
import { type ServerOptions, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { Peer, random } from './peer.ts'

/** A server process with two people whose conversation must go on whatever is done to the server by others. */
export class Stage implements AsyncDisposable {
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  server: ServerProcess
  readonly alice: Peer
  readonly bob: Peer
  readonly conversation: ConversationId
  #names = 0

  private constructor(
    folder: Awaited<ReturnType<typeof temporaryFolder>>,
    server: ServerProcess,
    { alice, bob, conversation }: { alice: Peer; bob: Peer; conversation: ConversationId },
  ) {
    this.#folder = folder
    this.server = server
    this.alice = alice
    this.bob = bob
    this.conversation = conversation
  }

  static async start(options: Partial<ServerOptions> = {}): Promise<Stage> {
    const folder = await temporaryFolder('memory')
    const server = await ServerProcess.start({ folder: folder.of('data'), ...options })
    const alice = await Peer.register(server.link, 'alice')
    const bob = await Peer.register(server.link, 'bob')
    const conversation = await alice.groupWith(bob)
    await bob.credit()
    return new Stage(folder, server, { alice, bob, conversation })
  }

  get folder(): string {
    return this.#folder.of('data')
  }

  get port(): number {
    return this.server.http.port
  }

  /** Starts the server again, on the port that it had. Nobody is connected. */
  async restart(): Promise<void> {
    this.server = await ServerProcess.start({ folder: this.folder, flags: ['--port', String(this.port)] })
  }

  /** Somebody new, whom nobody knows. */
  person(): Promise<Peer> {
    this.#names += 1
    return Peer.register(this.server.link, `person ${this.#names}`)
  }

  /** Asserts that the two who were here before are served, and that the server has nothing to complain about. I6 */
  async unharmed(): Promise<void> {
    const text = random(24)
    await this.alice.send(this.conversation, text)
    await this.bob.until(() => Buffer.compare(this.bob.heard(this.conversation).at(-1) ?? random(1), text) === 0)
    const failures = this.server.run.log.filter(({ level }) => level === 'error' || level === 'fatal')
    assert.deepEqual(failures, [], 'no mistake of the server')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.alice[Symbol.dispose]()
    this.bob[Symbol.dispose]()
    await this.server[Symbol.asyncDispose]()
    await this.#folder[Symbol.asyncDispose]()
  }
}
