import { type Codec, decode, encode } from '@messageu/protocol'
import { type Caller, frameHeadBytes, limits, type OperationName, operations } from '@messageu/protocol/v3'
import type { AskerOf, Handler, RequestOf, ResponseOf, Services, Session } from './services.ts'

/** What is served here; `prove` is the session's own business. */
type ServedName = Exclude<OperationName, 'prove'>
export type Handlers = { readonly [N in ServedName]: Handler<N> }

/** Whoever asks: everybody has an address, and who has proved a session has that as well. */
type Asker = { readonly remote: string } | (Session & { readonly remote: string })

/** One operation between its bytes. */
interface Route {
  readonly name: OperationName
  readonly caller: Caller
  /** Throws `malformed` for what is no such request; everything else comes through the callbacks, one of them once. */
  serve(
    services: Services,
    asker: Asker,
    body: Uint8Array,
    done: (answer: Uint8Array) => void,
    failed: (error: unknown) => void,
  ): void
}

/** The routes by their code. */
export type Routes = readonly (Route | undefined)[]

export function routesTo(handlers: Handlers): Routes {
  const routes: (Route | undefined)[] = []
  for (const name of Object.keys(operations) as OperationName[])
    if (name !== 'prove') routes[operations[name].code] = routeTo(name, handlers[name] as Handler<typeof name>)
  return routes
}

function routeTo<N extends ServedName>(name: N, handler: Handler<N>): Route {
  const { caller } = operations[name]
  // the codecs of one row belong together: that is what the table says
  const request = operations[name].request as Codec<unknown> as Codec<RequestOf<N>>
  const response = operations[name].response as Codec<unknown> as Codec<ResponseOf<N>>
  return {
    name,
    caller,
    serve(services, asker, body, done, failed) {
      // a Session wherever the table asks for one: the connection has seen to it
      const outcome = handler(services, asker as AskerOf<N>, decode(request, body))
      const answer = (value: ResponseOf<N>): void => {
        const bytes = encoded(response, value)
        if (bytes instanceof Error) failed(bytes)
        else done(bytes)
      }
      if (outcome instanceof Promise) outcome.then(answer, failed)
      else answer(outcome)
    },
  }
}

/** An answer that does not fit its own codec, or a frame, is a mistake of ours, not the peer's: it must not pass for `malformed`. */
function encoded<T>(codec: Codec<T>, value: T): Uint8Array | Error {
  try {
    const bytes = encode(codec, value)
    return bytes.length + frameHeadBytes <= limits.frameBytesMax
      ? bytes
      : new Error(`an answer of ${bytes.length} bytes`)
  } catch (error) {
    return new Error('an answer cannot be encoded', { cause: error })
  }
}
