import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { encode } from '@messageu/protocol'
import {
  answerHeader,
  type ClientId,
  Delivered,
  Listing,
  type Name,
  type OperationName,
  type PublicKey,
  PublicKeyOf,
  Receipt,
  type Request,
  RequestReader,
  refusal,
} from '@messageu/protocol/v2'
import type { Address } from '../../src/v2/address.ts'

/** What a wrong server does wrong. */
export interface Lies {
  acceptsDuplicates?: boolean
  listsAsker?: boolean
  listsTwice?: boolean
  /** Never forgets what it handed out. */
  repeats?: boolean
  givesOtherKey?: boolean
  losesTexts?: boolean
  reverses?: boolean
  flipsContent?: boolean
  forgetsWhoSent?: boolean
}

interface Waiting {
  header: Delivered
  content: Uint8Array
}

interface Account {
  id: ClientId
  name: Name
  publicKey: PublicKey
  mailbox: Waiting[]
}

/** A version 2 server in memory. It believes that a fetch arrived only when the client closed in good order. */
export class FakeServer implements AsyncDisposable {
  readonly lies: Lies = {}
  readonly accounts: Account[] = []
  /** Every request that arrived whole. */
  readonly requests: Request[] = []
  readonly deliveries: ('clean' | 'broken')[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #lastMessage = 0

  constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket))
  }

  static async start(lies: Lies = {}): Promise<FakeServer> {
    const server = new FakeServer()
    Object.assign(server.lies, lies)
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get address(): Address {
    return addressOf(this.#server)
  }

  /** Puts a message into a mailbox as if somebody had sent it. */
  put(
    recipient: ClientId,
    message: { sender: ClientId; type: Delivered['type']; content: Uint8Array; id?: number },
  ): number {
    const { sender, type, content, id = ++this.#lastMessage } = message
    const header = { sender, message: id, type, contentBytes: content.length }
    this.#account(recipient)?.mailbox.push({ header, content })
    return id
  }

  register(name: Name, publicKey: PublicKey): ClientId {
    const id = crypto.getRandomValues(new Uint8Array(16)) as ClientId
    this.accounts.push({ id, name, publicKey, mailbox: [] })
    return id
  }

  #account(id: ClientId): Account | undefined {
    return this.accounts.find((account) => Buffer.compare(account.id, id) === 0)
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
    const content: Uint8Array[] = []
    let request: Request | undefined
    const reader = new RequestReader({
      onHeader() {},
      onRequest: (whole) => {
        request = whole
      },
      onContent: (piece) => void content.push(Uint8Array.from(piece)),
      onComplete: () => {
        if (request === undefined) throw new Error('complete without a request')
        this.requests.push(request)
        this.#answer(socket, request, Buffer.concat(content))
      },
    })
    socket.on('data', (chunk) => {
      try {
        reader.push(chunk)
      } catch {
        socket.end(refusal)
      }
    })
  }

  #answer(socket: Socket, request: Request, content: Uint8Array): void {
    const payload = this.#payload(request, content)
    if (payload === undefined) socket.end(refusal)
    else if (request.kind === 'fetch') this.#deliver(socket, request.asker, payload)
    else socket.end(Buffer.concat([answerHeader(request.kind, payload.length), payload]))
  }

  #payload(request: Request, content: Uint8Array): Uint8Array | undefined {
    const { lies } = this
    if (request.kind === 'register') {
      const { name, publicKey } = request.registration
      const taken = this.accounts.some((account) => Buffer.compare(account.name, name) === 0)
      return taken && !lies.acceptsDuplicates ? undefined : this.register(name, publicKey)
    }
    if (request.kind === 'key') {
      const target = this.#account(request.target)
      const key = lies.givesOtherKey ? this.accounts.at(0)?.publicKey : target?.publicKey
      return target && key && encode(PublicKeyOf, { client: target.id, publicKey: key })
    }
    const asker = this.#account(request.asker)
    if (asker === undefined) return undefined
    switch (request.kind) {
      case 'list': {
        const listed = this.accounts.filter((account) => lies.listsAsker || account !== asker)
        const lines = listed.map(({ id, name }) => ({ client: id, name }))
        return encode(Listing, lies.listsTwice ? [...lines, ...lines] : lines)
      }
      case 'send': {
        const { recipient, type } = request.addressed
        if (this.#account(recipient) === undefined) return undefined
        const sender = lies.forgetsWhoSent ? recipient : asker.id
        const kept = lies.flipsContent ? content.map((byte, i) => (i === 0 ? byte ^ 1 : byte)) : content
        const message = lies.losesTexts && type === 'text' ? 99 : this.put(recipient, { sender, type, content: kept })
        return encode(Receipt, { recipient, message })
      }
      case 'fetch': {
        const messages = lies.reverses ? asker.mailbox.toReversed() : asker.mailbox
        return Buffer.concat(messages.flatMap(({ header, content }) => [encode(Delivered, header), content]))
      }
    }
  }

  #deliver(socket: Socket, recipient: ClientId, payload: Uint8Array): void {
    const account = this.#account(recipient)
    const count = account?.mailbox.length ?? 0
    let clean = false
    socket.write(Buffer.concat([answerHeader('fetch', payload.length), payload]))
    socket.on('end', () => {
      clean = true
      if (!this.lies.repeats) account?.mailbox.splice(0, count)
      this.deliveries.push('clean')
      socket.end()
    })
    socket.on('close', () => {
      if (!clean) this.deliveries.push('broken')
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Takes one request after the other, each on its own connection, and does with the connection what `answer` says. */
export function startScript(
  answer: (socket: Socket, request: Buffer, kind: OperationName) => void,
): Promise<{ address: Address } & AsyncDisposable> {
  return startRaw((socket) => {
    const received: Buffer[] = []
    let kind: OperationName = 'list'
    const reader = new RequestReader({
      onHeader: (_asker, operation) => {
        kind = operation
      },
      onRequest() {},
      onContent() {},
      onComplete: () => answer(socket, Buffer.concat(received), kind),
    })
    socket.on('data', (chunk) => {
      received.push(chunk)
      reader.push(chunk)
    })
  })
}

/** Serves connections, and holds nothing in memory. */
export async function startRaw(serve: (socket: Socket) => void): Promise<{ address: Address } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: addressOf(server),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function addressOf(server: Server): Address {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not listening')
  return { host: '127.0.0.1', port: address.port }
}
