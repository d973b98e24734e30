import { spawn } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as v2 from '../../src/v2/client.ts'
import { loadState } from '../../src/v2/state.ts'
import { launcher } from '../launcher.ts'
import { FakeServer, type Lies } from './fake-server.ts'

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
  readonly bytes: Buffer
}

/** Runs the program as a shell would. */
export async function messageu(
  args: readonly string[],
  input?: string | Buffer,
  { cwd, env = process.env }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [launcher, ...args], { cwd, env, stdio: 'pipe' })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const gather = async (stream: AsyncIterable<Buffer>): Promise<Buffer> => Buffer.concat(await Array.fromAsync(stream))
  const [out, err, code] = await Promise.all([
    gather(child.stdout),
    gather(child.stderr),
    new Promise<number | null>((resolve) => child.on('close', resolve)),
  ])
  return { code, out: out.toString(), err: err.toString(), bytes: Buffer.concat([out, err]) }
}

/** The events of a run with `--json`. */
export function events({ out }: Ended): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

/** A server, a folder of its own, and clients in it. */
export class World implements AsyncDisposable {
  readonly server: FakeServer
  readonly folder: string

  private constructor(server: FakeServer, folder: string) {
    this.server = server
    this.folder = folder
  }

  static async start(lies?: Lies): Promise<World> {
    return new World(await FakeServer.start(lies), await mkdtemp(join(tmpdir(), 'messageu-v2-')))
  }

  at(dir: string): v2.Client {
    return v2.openClient({ dir: join(this.folder, dir), server: this.server.address })
  }

  async registered(name: string): Promise<v2.Client> {
    const client = this.at(name)
    await v2.register(client, name)
    return client
  }

  /** Two who have a key between them, with nothing waiting. */
  async pair(): Promise<{ alice: v2.Client; bob: v2.Client; key: Uint8Array }> {
    const alice = await this.registered('alice')
    const bob = await this.registered('bob')
    await v2.giveKey(alice, 'bob')
    await read(bob)
    const me = await v2.whoAmI(bob)
    const key = (await loadState(bob.dir, me.id)).people.values().next().value?.keys[0]?.reveal()
    if (key === undefined) throw new Error('the key did not arrive')
    return { alice, bob, key }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]()
    await rm(this.folder, { recursive: true, force: true })
  }
}

export function saveFolder(client: v2.Client): string {
  return join(client.dir, 'received')
}

export function read(client: v2.Client): Promise<v2.Reading[]> {
  return Array.fromAsync(v2.read(client, { save: saveFolder(client) }))
}

/** What a reader got to see, in short. */
export function summary(readings: readonly v2.Reading[]): string[] {
  return readings.map((reading) => {
    if (reading.kind === 'unreadable') return `unreadable ${reading.reason}`
    if (reading.kind === 'repeated') return 'repeated'
    const { content } = reading
    return content.kind === 'text' ? content.text : content.kind
  })
}

export async function idOf(client: v2.Client): Promise<v2.Identity['id']> {
  return (await v2.whoAmI(client)).id
}

/** Everything below a folder, as paths from it. */
export async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
}

/** By the description in the vectors, apart from the code under test. */
export function encrypt(key: Uint8Array, plain: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-128-cbc', key, Buffer.alloc(16))
  return Buffer.concat([cipher.update(plain), cipher.final()])
}

export function encryptText(key: Uint8Array, text: string): Uint8Array {
  return encrypt(key, Buffer.from(`${text}\0`))
}
