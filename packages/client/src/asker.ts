import type { OperationName } from '@messageu/protocol/v3'
import type { RequestOf, ResponseOf } from './wire.ts'

/** Somebody who can be asked: one session, or the connection that goes through many. */
export interface Asker {
  request<N extends OperationName>(
    name: N,
    request: RequestOf<N>,
    options: { signal: AbortSignal },
  ): Promise<ResponseOf<N>>
}
