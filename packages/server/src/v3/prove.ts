import { type KeyObject, sign, verify } from 'node:crypto'
import { encode } from '@messageu/protocol'
import {
  contexts,
  type Hash,
  type Hello,
  inContext,
  type Proof,
  RefusedError,
  SessionTranscript,
  type Signature,
} from '@messageu/protocol/v3'
import { keyObject, type ServerIdentity } from './identity.ts'
import type { Device, Directory } from './services.ts'

/** What the server knows of the connection over which a proof comes. */
export interface Place {
  /** What was said first on it. */
  readonly hello: Hello
  /** The host as it was dialled, with its port (`authorityOf`). */
  readonly host: string
  readonly certificate: ShownCertificate
}

/** Which certificate the peer can have seen. */
type ShownCertificate =
  | { readonly kind: 'none' }
  /** Browsers do not show it to a page: their proofs have no hash, and rely on the authority. */
  | { readonly kind: 'own'; readonly hash: Hash }
  /** A proxy in front has shown its own, which this server does not see. */
  | { readonly kind: 'of-proxy' }

export interface Proved {
  readonly device: Device
  /** The server's half, over the transcript and the device's signature. */
  readonly signature: Signature
}

/**
 * The device that a proof is by. Whatever does not hold is `unproved`, without a word more, and costs what a wrong
 * signature costs: who does not exist, is delisted or disabled looks like who has the wrong key. Protocol 3 §3.3.
 */
export async function judgeProof(
  proof: Proof,
  place: Place,
  { directory, identity }: { directory: Pick<Directory, 'device'>; identity: ServerIdentity },
): Promise<Proved> {
  const { hello } = place
  if (proof.minor < hello.minorMin || proof.minor > hello.minorMax)
    throw new RefusedError('unsupported-version', `this server speaks 3.${hello.minorMin} to 3.${hello.minorMax}`)
  const device = await directory.device(proof.device)
  const transcript = encode(SessionTranscript, {
    hello,
    minor: proof.minor,
    certificate: proof.certificate,
    host: proof.host,
    clientNonce: proof.nonce,
    device: proof.device,
  })
  const key = device?.certificate.requestKey ?? identity.publicKey // a key that has not signed this
  const holds = verifies(inContext(contexts.clientProof, transcript), keyObject(key), proof.signature)
  const isHere = proof.host === place.host && isCertificateOf(place.certificate, proof.certificate)
  if (device === undefined || !holds || !isHere || !mayOpen(device)) throw unproved()
  const message = inContext(contexts.serverProof, transcript, proof.signature)
  const signature = new Uint8Array(sign(null, message, identity.privateKey)) as Signature // Ed25519: 64 bytes
  return { device, signature }
}

/** Whether a device may have a session now. It may lose that at any moment. */
export function mayOpen({ isListed, account }: Device): boolean {
  return isListed && !account.isDisabled
}

export function unproved(): RefusedError {
  return new RefusedError('unproved', 'the proof does not hold')
}

function verifies(message: Uint8Array, key: KeyObject, signature: Signature): boolean {
  try {
    return verify(null, message, key, signature)
  } catch {
    return false // not the encoding of a key
  }
}

function isCertificateOf(shown: ShownCertificate, claimed: Hash | undefined): boolean {
  if (shown.kind === 'of-proxy' || claimed === undefined) return true
  return shown.kind === 'own' && Buffer.from(shown.hash).equals(claimed)
}
