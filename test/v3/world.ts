import assert from 'node:assert/strict'
import { type SessionEvent, systemRandom } from '@messageu/client'
import { openProfile } from '@messageu/client/node'
import { addDevice, certify, newDevice, removeDevice, type SigningKey, signingKey } from '@messageu/e2ee'
import type { ConversationId, DeviceId } from '@messageu/protocol/v3'
import { accountKeys, accountRow, putRow } from '../../packages/client/src/rows.ts'
import { ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { Device, type DeviceOptions, type Heard } from './device.ts'

const never = new AbortController().signal

/** A server in a process of its own, that can be killed and started again where it was, and devices at it. */
export class World implements AsyncDisposable {
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  readonly #devices: Device[] = []
  #server: ServerProcess
  readonly link: string
  readonly #port: number

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>, server: ServerProcess) {
    this.#folder = folder
    this.#server = server
    this.link = server.link
    this.#port = server.http.port
  }

  static async start(): Promise<World> {
    const folder = await temporaryFolder('memory')
    return new World(folder, await ServerProcess.start({ folder: folder.of('server') }))
  }

  get server(): ServerProcess {
    return this.#server
  }

  folderOf(name: string): string {
    return this.#folder.of(name)
  }

  /** The first device of a new account. */
  person(name: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
    return this.open({ folder: this.folderOf(name), name, ...options })
  }

  async open(options: Omit<DeviceOptions, 'link'> & { link?: string }): Promise<Device> {
    const device = await Device.open({ link: this.link, ...options })
    this.#devices.push(device)
    return device
  }

  /** Another device of the same account, as if both had been in one hand. */
  async sibling(of: Device, name: string, onEvent: (event: SessionEvent) => void): Promise<Device> {
    const { identity } = of.session.account
    const list = await of.session.ownList({ signal: never })
    const secrets = newDevice(systemRandom)
    const certificate = await certify(secrets, identity)
    const entry = await addDevice(list, await managerKeyOf(of), certificate)
    await of.session.request('append', { account: identity.account, entry }, { signal: never })
    {
      await using profile = await openProfile(this.folderOf(name))
      const row = { ...of.session.account, identity: { ...identity, ...secrets } }
      await profile.store.commit([putRow(accountRow, accountKeys.account, row)], profile.store.revision)
    }
    return this.open({ folder: this.folderOf(name), onEvent })
  }

  /** Takes a device off the list of the account that another device manages. */
  async takeOff(manager: Device, device: DeviceId): Promise<void> {
    const list = await manager.session.ownList({ signal: never })
    const entry = await removeDevice(list, await managerKeyOf(manager), device)
    await manager.session.request('append', { account: manager.account, entry }, { signal: never })
  }

  async killServer(): Promise<void> {
    await this.#server.end('SIGKILL')
  }

  /** On the same port, with the same data unless another folder is named. */
  async startServer({ folder = this.folderOf('server') } = {}): Promise<void> {
    this.#server = await ServerProcess.start({
      folder,
      flags: ['--port', String(this.#port)],
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#devices.map((device) => device[Symbol.asyncDispose]()))
    await this.#server[Symbol.asyncDispose]()
    await this.#folder[Symbol.asyncDispose]()
  }
}

/** A conversation of these devices, who accept each other, as the first of them makes it. At epoch 1. */
export async function conversationOf(...devices: readonly Device[]): Promise<ConversationId> {
  const [first] = devices
  assert(first !== undefined)
  for (const one of devices)
    for (const other of devices)
      if (one.account !== other.account) await one.session.judge(other.account, 'accept', { signal: never })
  const { conversation } = await first.session.create({ signal: never })
  const outcome = await first.commit(
    conversation,
    0,
    devices.map(({ id }) => id),
  )
  assert.equal(outcome.kind, 'accepted')
  return conversation
}

/** The texts that a device has heard of one sender, whose texts begin with its name. */
export function textsOf(heard: readonly Heard[], sender: string): string[] {
  return heard
    .filter(({ kind, text }) => kind === 'application' && text.startsWith(`${sender} `))
    .map(({ text }) => text)
}

/** Nothing twice, one order for all, and nobody's texts out of the order in which they were said. I2, I3 */
export function assertOneOrder(heard: ReadonlyMap<string, readonly Heard[]>): void {
  const order = new Map<number, string>()
  for (const [who, all] of heard) {
    let before = 0
    for (const { sequence, kind, text } of all) {
      assert(sequence > before, `${who} heard sequence ${sequence} after ${before}`)
      before = sequence
      const said = `${kind} ${text}`
      assert.equal(order.get(sequence) ?? said, said, `two devices heard different things at sequence ${sequence}`)
      order.set(sequence, said)
    }
  }
  const bySender = new Map<string, number>()
  for (const [, said] of [...order].sort(([one], [other]) => one - other)) {
    const match = /^application (\w+) (\d+)/.exec(said)
    if (match === null) continue
    const [, sender = '', number = ''] = match
    const last = bySender.get(sender) ?? -1
    assert(Number(number) > last, `${sender} said ${number} and it stands behind ${last}`)
    bySender.set(sender, Number(number))
  }
}

async function managerKeyOf({ session }: Device): Promise<SigningKey> {
  const { managerSeed } = session.account.identity
  assert(managerSeed !== undefined, 'this device manages its account')
  return signingKey(managerSeed)
}
