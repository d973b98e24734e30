import { proveSession, type RandomBytes, type SigningKey, verifyServerProof } from '@messageu/e2ee'
import { decode, ProtocolError } from '@messageu/protocol'
import { authorityOf, type DeviceId, type Link, Nonce, RefusedError, type SessionOpened } from '@messageu/protocol/v3'
import type { Clock } from './clock.ts'
import { ClientError } from './errors.ts'
import { limits } from './limits.ts'
import type { Wire } from './wire.ts'

/** Who we are, to a server that asks. */
export interface Prover {
  readonly device: DeviceId
  readonly requestKey: SigningKey
}

/**
 * Proves the device to the server and the server to us. Nothing that the server says counts before this resolves.
 * Throws `untrusted-server`, or what the server refuses the proof with. Protocol 3 §3.2 to §3.4.
 */
export async function prove(
  wire: Wire,
  link: Link,
  { device, requestKey }: Prover,
  { clock, random, signal }: { clock: Clock; random: RandomBytes; signal: AbortSignal },
): Promise<SessionOpened> {
  const { hello, certificate } = wire
  const { serverKey } = link
  using _deadline = clock.after(limits.provingMs, () =>
    wire.fail(new ClientError('lost', 'the server did not answer the proof in time')),
  )
  const nonce = decode(Nonce, random(Nonce.max))
  const proof = await trusting(() =>
    proveSession({ hello, serverKey, requestKey, device, host: authorityOf(link), certificate, nonce }),
  )
  const opened = await wire.request('prove', proof, { signal })
  await trusting(() => verifyServerProof({ hello, proof, opened, serverKey }))
  return opened
}

/** A server that is not the one of the link is the user's concern, and not one more refusal. */
async function trusting<T>(check: () => Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    if (error.reason === 'unsupported-version') throw new RefusedError('unsupported-version', error.message)
    throw new ClientError('untrusted-server', error.message, { cause: error })
  }
}
