import { decode, encode } from '@messageu/protocol'
import {
  contexts,
  DeviceId,
  Hash,
  Hello,
  Incarnation,
  inContext,
  limits,
  Nonce,
  Proof,
  SessionTranscript,
  type Signature,
} from '@messageu/protocol/v3'
import { proveSession, type SessionAttempt } from '../../src/session.ts'
import { type SeededKey, seededKey } from '../account.ts'
import { toHex } from '../hex.ts'
import { seeded } from '../seeded.ts'

/** A session that has not begun yet, with the keys of both sides. */
export interface TestSession {
  readonly attempt: SessionAttempt
  readonly server: SeededKey
  readonly device: SeededKey
}

export async function testSession(label = 'session'): Promise<TestSession> {
  const random = seeded(label)
  const server = await seededKey(random)
  const device = await seededKey(random)
  const hello: Hello = {
    minorMin: limits.minorMin,
    minorMax: limits.minorMax,
    incarnation: decode(Incarnation, random(16)),
    nonce: decode(Nonce, random(32)),
    serverKey: server.publicKey,
    frameBytesMax: limits.frameBytesMax,
    sealedBytesMax: limits.sealedBytesMax,
    outstandingMax: limits.outstandingMax,
  }
  const attempt = {
    hello,
    serverKey: server.publicKey,
    requestKey: device,
    device: decode(DeviceId, random(16)),
    host: 'chat.example.org:8443',
    certificate: decode(Hash, random(32)),
    nonce: decode(Nonce, random(32)),
  }
  return { attempt, server, device }
}

/** What both sides sign, put together here once more, field by field, as a server does it. */
export function transcriptOf(hello: Hello, { minor, certificate, host, nonce, device }: Proof): Uint8Array {
  return encode(SessionTranscript, { hello, minor, certificate, host, clientNonce: nonce, device })
}

/** What the server answers to a proof. */
export function serverSignature(server: SeededKey, hello: Hello, proof: Proof): Promise<Signature> {
  return server.sign(inContext(contexts.serverProof, transcriptOf(hello, proof), proof.signature))
}

/** One thing changed in what the device has signed; the signature stays. */
export function altered(hello: Hello, proof: Proof): { name: string; hello: Hello; proof: Proof }[] {
  const other = seeded('something else')
  const changes: readonly { name: string; hello?: Partial<Hello>; proof?: Partial<Proof> }[] = [
    { name: 'another minor version', proof: { minor: proof.minor + 1 } },
    { name: 'another certificate', proof: { certificate: decode(Hash, other(32)) } },
    ...(proof.certificate ? [{ name: 'no certificate', proof: { certificate: undefined } }] : []),
    { name: 'another host', proof: { host: 'chat.example.net:8443' } },
    { name: 'another port', proof: { host: 'chat.example.org' } },
    { name: 'another nonce of the device', proof: { nonce: decode(Nonce, other(32)) } },
    { name: 'another device', proof: { device: decode(DeviceId, other(16)) } },
    { name: 'another nonce of the server', hello: { nonce: decode(Nonce, other(32)) } },
    { name: 'another incarnation', hello: { incarnation: decode(Incarnation, other(16)) } },
    { name: 'a newer minor version on offer', hello: { minorMax: hello.minorMax + 1 } },
    { name: 'an older minor version left out of the offer', hello: { minorMin: hello.minorMin + 1 } },
    { name: 'another limit', hello: { outstandingMax: hello.outstandingMax - 1 } },
  ]
  return changes.map((change) => ({
    name: change.name,
    hello: { ...hello, ...change.hello },
    proof: { ...proof, ...change.proof },
  }))
}

export async function sessionVectors() {
  const sessions = [await testSession(), await testSession('session behind a proxy')]
  const valid = []
  for (const [index, { attempt, server, device }] of sessions.entries()) {
    const { hello } = attempt
    const proof = await proveSession({ ...attempt, certificate: index === 0 ? attempt.certificate : undefined })
    valid.push({
      serverSeed: toHex(server.seed.reveal()),
      requestSeed: toHex(device.seed.reveal()),
      hello: toHex(encode(Hello, hello)),
      transcript: toHex(transcriptOf(hello, proof)),
      proof: toHex(encode(Proof, proof)),
      serverSignature: toHex(await serverSignature(server, hello, proof)),
      refused: altered(hello, proof).map((each) => ({
        name: each.name,
        hello: toHex(encode(Hello, each.hello)),
        proof: toHex(encode(Proof, each.proof)),
      })),
    })
  }
  return { title: 'session proofs', valid }
}
