import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { ProtocolError, type Reason } from '@messageu/protocol'
import { type ClientId, type OperationName, type Request, refusal } from '@messageu/protocol/v2'
import type { Client, Storage } from '../storage.ts'
import { Connection, type ConnectionHost, type Work } from './connection.ts'
import { Crowd } from './crowd.ts'
import { Deadlines } from './deadlines.ts'
import { Budget, type FetchOutcome, type Operation, type Services } from './host.ts'
import { type V2Limits, v2Limits } from './limits.ts'
import { isLoopback } from './loopback.ts'
import { fetch } from './operations/fetch.ts'
import { key } from './operations/key.ts'
import { list } from './operations/list.ts'
import { register } from './operations/register.ts'
import { send } from './operations/send.ts'
import { Slices } from './slices.ts'
import { Turns } from './turns.ts'

const operations = { register, list, key, send, fetch } satisfies { [K in OperationName]: Operation<K> }

export interface V2Options {
  readonly storage: Storage
  readonly host: string
  /** 0 picks a free one. */
  readonly port: number
  readonly limits?: Partial<V2Limits>
  readonly privateIds?: boolean
  readonly log: V2Log
  /** The monotonic clock, in milliseconds. */
  readonly nowMs: () => number
  readonly newClientId: () => ClientId
  /** Whether a peer's address is this machine's own. */
  readonly isLocal?: (remote: string) => boolean
}

/** What the listener tells the operator: reasons, sizes and counts, nothing that a client wrote. */
export interface V2Log {
  refused(entry: { operation: OperationName | undefined; reason: Reason; why: string }): void
  fetched(entry: FetchOutcome): void
}

const tickMs = 250
const backlog = 4096

/** Listens for version 2 clients. Rejects when the port cannot be had. */
export async function listenV2(options: V2Options): Promise<V2Listener> {
  const listener = new V2Listener(options)
  await listener.listen(options.host, options.port)
  return listener
}

export class V2Listener implements AsyncDisposable {
  readonly #options: V2Options
  readonly #limits: V2Limits
  readonly #services: Services
  readonly #host: ConnectionHost
  readonly #deadlines: Deadlines
  readonly #server: Server
  readonly #connections = new Crowd<Connection>()
  readonly #perAddress = new Map<string, number>()
  /** Where every connection comes from when we listen on loopback: the system need not be asked each time. */
  #onlyPeer: string | undefined
  readonly #turnedAway = new Set<Socket>()
  #stopped: Promise<void> | undefined

  constructor(options: V2Options) {
    const { storage, nowMs, newClientId, isLocal = isLoopback, privateIds = false, log } = options
    this.#options = options
    this.#limits = { ...v2Limits, ...options.limits }
    this.#deadlines = new Deadlines(nowMs, Math.min(tickMs, Math.max(1, this.#limits.settleMs / 2)))
    this.#services = {
      storage,
      limits: this.#limits,
      turns: new Turns(),
      transfers: new Budget(this.#limits.transfersMax),
      buffered: new Budget(this.#limits.bufferedBytesMax),
      answers: new Slices(this.#limits.answersPerTurn),
      newClientId,
      privateIds,
      fetched: (outcome) => log.fetched(outcome),
    }
    this.#host = {
      limits: this.#limits,
      connections: this.#connections,
      nowMs,
      isLocal,
      watch: (connection) => this.#deadlines.watch(connection),
      admit: (operation, asker) => this.#admit(operation, asker),
      begin: (request, connection) => this.#begin(request, connection),
      refused: ({ operation }, reason, why) => log.refused({ operation, reason, why }),
      closed: (connection) => this.#closed(connection),
    }
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#onConnection(socket))
  }

  async listen(host: string, port: number): Promise<void> {
    this.#server.listen({ host, port, backlog })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      this.#deadlines[Symbol.dispose]()
      throw error
    }
    const { host: own } = this.address
    if (this.#host.isLocal(own)) this.#onlyPeer = own
    // one connection that cannot be accepted is no reason to give up the others
    this.#server.on('error', ({ message }) => {
      this.#options.log.refused({ operation: undefined, reason: 'busy', why: `not accepted: ${message}` })
    })
  }

  get address(): { host: string; port: number } {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the listener is closed')
    return { host: address.address, port: address.port }
  }

  get connections(): number {
    return this.#connections.size
  }

  /** Takes no new connections, finishes what is under way within `graceMs`, then ends what is left. */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs)
    return this.#stopped
  }

  /** Ends every connection, whatever it is doing. */
  endAll(): void {
    for (const { socket } of this.#connections.members()) socket.destroy()
    for (const socket of this.#turnedAway) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0)
  }

  async #stop(graceMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const connection of this.#connections.members())
      if (!connection.heard) connection.fail(new ProtocolError('stopping', 'the server is stopping'))
    const grace = setTimeout(() => this.endAll(), graceMs)
    await closed // which comes before the sockets say so
    await Promise.all(
      this.#connections.members().map(({ socket }) => new Promise((gone) => socket.once('close', gone))),
    )
    clearTimeout(grace)
    await this.#services.turns.over() // what was delivered is forgotten before the storage closes
    this.#deadlines[Symbol.dispose]()
  }

  #onConnection(socket: Socket): void {
    const remote = this.#onlyPeer ?? socket.remoteAddress
    if (remote === undefined) {
      socket.destroy() // gone before it was looked at
      return
    }
    const ofAddress = this.#perAddress.get(remote) ?? 0
    const limited = !this.#host.isLocal(remote) && ofAddress >= this.#limits.connectionsPerAddressMax
    if (limited || this.#connections.size >= this.#limits.connectionsMax) {
      this.#turnAway(socket)
      return
    }
    this.#perAddress.set(remote, ofAddress + 1)
    const connection = new Connection(socket, remote, this.#host)
    this.#deadlines.watch(connection)
  }

  /** Says no without reading anything; who does not take the answer soon is let go without it. */
  #turnAway(socket: Socket): void {
    this.#options.log.refused({ operation: undefined, reason: 'busy', why: 'too many connections' })
    socket.on('error', () => {})
    if (this.#turnedAway.size >= this.#limits.refusalsAtOnceMax) {
      socket.destroy()
      return
    }
    this.#turnedAway.add(socket)
    const patience = setTimeout(() => socket.destroy(), this.#limits.goodbyeMs)
    socket.on('close', () => {
      this.#turnedAway.delete(socket)
      clearTimeout(patience)
    })
    socket.resume()
    socket.end(refusal)
  }

  #admit(operation: OperationName, asker: ClientId): void {
    const { storage } = this.#services
    const known =
      operation === 'register' ||
      storage.clientByLogin(asker) !== undefined ||
      (operation === 'key' && storage.clientById(asker) !== undefined)
    if (!known) throw new ProtocolError('unknown-client', 'the asker is not registered here')
  }

  #begin(request: Request, connection: Connection): Work | undefined {
    const services = this.#services
    switch (request.kind) {
      case 'register':
        return operations.register(services, request, connection, undefined)
      case 'key':
        return operations.key(services, request, connection, undefined)
      case 'list':
        return operations.list(services, request, connection, this.#registered(request.asker))
      case 'send':
        return operations.send(services, request, connection, this.#registered(request.asker))
      case 'fetch':
        return operations.fetch(services, request, connection, this.#registered(request.asker))
    }
  }

  #registered(asker: ClientId): Client {
    const client = this.#services.storage.clientByLogin(asker)
    if (client === undefined) throw new ProtocolError('unknown-client', 'the asker is not registered here')
    return client
  }

  #closed(connection: Connection): void {
    this.#deadlines.forget(connection)
    const left = (this.#perAddress.get(connection.remote) ?? 1) - 1
    if (left > 0) this.#perAddress.set(connection.remote, left)
    else this.#perAddress.delete(connection.remote)
  }
}
