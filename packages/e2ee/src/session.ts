import { encode, ProtocolError } from '@messageu/protocol'
import {
  contexts,
  type DeviceId,
  type Hash,
  type Hello,
  inContext,
  limits,
  type Nonce,
  type Proof,
  type PublicKey,
  type SessionOpened,
  SessionTranscript,
} from '@messageu/protocol/v3'
import { sameBytes } from './bytes.ts'
import { type SigningKey, verifySignature } from './signing.ts'

export interface SessionAttempt {
  readonly hello: Hello
  /** From the link: the only server that gets a proof. */
  readonly serverKey: PublicKey
  readonly requestKey: SigningKey
  readonly device: DeviceId
  /** As dialled, with its port. */
  readonly host: string
  /** Of the public key in the certificate that the connection showed; nothing where it cannot be seen. */
  readonly certificate: Hash | undefined
  readonly nonce: Nonce
}

/** The minor version that both sides speak: the lower of what each has newest. Throws `unsupported-version`. §1.2 */
export function agreeOnMinor(
  { minorMin, minorMax }: Pick<Hello, 'minorMin' | 'minorMax'>,
  own: Pick<Hello, 'minorMin' | 'minorMax'> = limits,
): number {
  const minor = Math.min(minorMax, own.minorMax)
  if (minor < minorMin || minor < own.minorMin)
    throw new ProtocolError(
      'unsupported-version',
      `the server speaks 3.${minorMin} to 3.${minorMax}, this program 3.${own.minorMin} to 3.${own.minorMax}`,
    )
  return minor
}

/** The device's answer to `hello`. Throws `unproved` before anything is signed for a server that is not the pinned one. §3.2 */
export async function proveSession(attempt: SessionAttempt): Promise<Proof> {
  const { hello, serverKey, requestKey, device, host, certificate, nonce } = attempt
  mustBePinned(hello, serverKey)
  const claim = { minor: agreeOnMinor(hello), certificate, host, nonce, device }
  const signature = await requestKey.sign(inContext(contexts.clientProof, transcript(hello, claim)))
  return { ...claim, signature }
}

/** Throws `unproved` unless the pinned server signed exactly the session that `proof` was made for. §3.3 */
export async function verifyServerProof({
  hello,
  proof,
  opened,
  serverKey,
}: {
  readonly hello: Hello
  readonly proof: Proof
  readonly opened: Pick<SessionOpened, 'signature'>
  readonly serverKey: PublicKey
}): Promise<void> {
  mustBePinned(hello, serverKey)
  const message = inContext(contexts.serverProof, transcript(hello, proof), proof.signature)
  if (!(await verifySignature(serverKey, message, opened.signature)))
    throw new ProtocolError('unproved', 'the server did not sign this session')
}

function transcript(hello: Hello, { minor, certificate, host, nonce, device }: Omit<Proof, 'signature'>): Uint8Array {
  return encode(SessionTranscript, { hello, minor, certificate, host, clientNonce: nonce, device })
}

function mustBePinned(hello: Hello, serverKey: PublicKey): void {
  if (!sameBytes(hello.serverKey, serverKey))
    throw new ProtocolError('unproved', 'the server has another key than the link says')
}
