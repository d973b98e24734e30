import { type Codec, decode } from '@messageu/protocol'
import { answers, type Caller, encodeFrame, type Frame, type OperationName, operations } from '@messageu/protocol/v3'
import type { Outcome } from './later.ts'
import type { AskerOf, GatheringHandler, Handler, RequestOf, ResponseOf, Services, Session } from './services.ts'

/** What is served one by one; `prove` is the session's own business, and sends are gathered. */
type SingleName = Exclude<OperationName, 'prove' | 'send'>
export type Handlers = { readonly [N in SingleName]: Handler<N> } & { readonly send: GatheringHandler }

/** Whoever asks: everybody has an address, and who has proved a session has that as well. */
type Asker = { readonly remote: string } | (Session & { readonly remote: string })

/** One operation between its bytes. */
export type Route = SingleRoute | GatheringRoute

interface SingleRoute {
  readonly name: SingleName
  readonly caller: Caller
  /**
   * Throws `malformed` for what is no such request; everything else is told, the answer as a frame for `request`. The
   * bytes of the body must stay as they are until then.
   */
  serve(services: Services, asker: Asker, frame: Frame, reply: Outcome<Uint8Array>): void
}

export interface GatheringRoute {
  readonly name: 'send'
  readonly caller: Caller
  readonly gather: GatheringHandler
}

/** The routes by their code. */
export type Routes = readonly (Route | undefined)[]

export function routesTo(handlers: Handlers): Routes {
  const routes: (Route | undefined)[] = []
  for (const name of Object.keys(operations) as OperationName[])
    if (name !== 'prove' && name !== 'send') routes[operations[name].code] = routeTo(name, handlers[name])
  const { code, caller } = operations.send
  routes[code] = { name: 'send', caller, gather: handlers.send }
  return routes
}

function routeTo<N extends SingleName>(name: N, handler: Handler<N>): SingleRoute {
  const { caller } = operations[name]
  // the codecs of one row belong together: that is what the table says
  const request = operations[name].request as Codec<unknown> as Codec<RequestOf<N>>
  const response = operations[name].response as Codec<unknown> as Codec<ResponseOf<N>>
  return {
    name,
    caller,
    serve(services, asker, frame, reply) {
      // a Session wherever the table asks for one: the connection has seen to it
      const outcome = handler(services, asker as AskerOf<N>, decode(request, frame.body))
      const encoding = new Encoding(response, frame.request, reply)
      if (outcome instanceof Promise)
        outcome.then(
          (value) => encoding.done(value),
          (error: unknown) => encoding.failed(error),
        )
      else encoding.done(outcome)
    },
  }
}

/** Makes an answer a frame. */
class Encoding<T> implements Outcome<T> {
  readonly #codec: Codec<T>
  readonly #request: number
  readonly #reply: Outcome<Uint8Array>

  constructor(codec: Codec<T>, request: number, reply: Outcome<Uint8Array>) {
    this.#codec = codec
    this.#request = request
    this.#reply = reply
  }

  done(value: T): void {
    const frame = framed(this.#codec, this.#request, value)
    if (frame instanceof Error) this.#reply.failed(frame)
    else this.#reply.done(frame)
  }

  failed(error: unknown): void {
    this.#reply.failed(error)
  }
}

/**
 * An answer that does not fit its own codec, or a frame, is a mistake of ours, not the peer's: it must not pass for
 * `malformed`.
 */
function framed<T>(codec: Codec<T>, request: number, value: T): Uint8Array | Error {
  try {
    return encodeFrame({ code: answers.done, request }, codec, value)
  } catch (error) {
    return new Error('an answer cannot be encoded', { cause: error })
  }
}
