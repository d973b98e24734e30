/** What `ws` exports for whoever has a socket of their own, and @types/ws does not tell: what is used of it here. */
import type { Writable } from 'node:stream'

declare module 'ws' {
  /** Takes the bytes of frames; `error` with a code that begins with `WS_ERR` is about what the peer sent. */
  export class Receiver extends Writable {
    constructor(options: {
      readonly isServer: boolean
      readonly maxPayload: number
      readonly maxFragments: number
      readonly maxBufferedChunks: number
      readonly skipUTF8Validation: boolean
    })
    override on(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): this
    override on(event: 'ping', listener: (data: Buffer) => void): this
    override on(event: 'conclude', listener: (code: number, reason: Buffer) => void): this
    override on(event: 'error', listener: (error: Error) => void): this
  }

  /** Writes frames to a socket. */
  export class Sender {
    constructor(socket: Writable)
    send(
      data: Uint8Array,
      options: { readonly binary: boolean; readonly mask: boolean; readonly fin: boolean; readonly compress: boolean },
    ): void
    pong(data: Uint8Array, mask: boolean, written: () => void): void
    close(code: number, reason: string, mask: boolean): void
  }
}
