import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { contexts, inContext } from '@messageu/protocol/v3'
import { agreeOnMinor, proveSession, verifyServerProof } from '../src/session.ts'
import { verifySignature } from '../src/signing.ts'
import { seededKey } from './account.ts'
import { altered, serverSignature, testSession, transcriptOf } from './golden/sessions.ts'
import { seeded } from './seeded.ts'

test('a session is proved both ways', async () => {
  const { attempt, server, device } = await testSession()
  const { hello, serverKey } = attempt
  const proof = await proveSession(attempt)
  const message = inContext(contexts.clientProof, transcriptOf(hello, proof))
  assert.equal(await verifySignature(device.publicKey, message, proof.signature), true)
  const opened = { signature: await serverSignature(server, hello, proof) }
  await verifyServerProof({ hello, proof, opened, serverKey })
})

test('a proof says what the device has seen and dialled', async () => {
  const { attempt } = await testSession()
  const { minor, certificate, host, nonce, device } = await proveSession(attempt)
  assert.deepEqual({ certificate, host, nonce, device }, pick(attempt))
  assert.equal(minor, 0)
})

describe('the minor version', () => {
  for (const { server, own, minor } of [
    { server: [0, 0], own: [0, 0], minor: 0 },
    { server: [0, 5], own: [0, 3], minor: 3 },
    { server: [0, 3], own: [0, 5], minor: 3 },
    { server: [2, 4], own: [4, 6], minor: 4 },
    { server: [4, 6], own: [2, 4], minor: 4 },
  ] as const)
    test(`of a server with ${server.join(' to ')} and a client with ${own.join(' to ')} is ${minor}`, () => {
      assert.equal(agreeOnMinor(range(server), range(own)), minor)
    })

  for (const { server, own } of [
    { server: [1, 1], own: [0, 0] },
    { server: [0, 0], own: [1, 1] },
    { server: [4, 6], own: [1, 3] },
    { server: [1, 3], own: [4, 6] },
    { server: [3, 1], own: [0, 5] },
  ] as const)
    test(`W09: a server with ${server.join(' to ')} and a client with ${own.join(' to ')} have none`, () => {
      assert.throws(() => agreeOnMinor(range(server), range(own)), { reason: 'unsupported-version' })
    })

  test('W09: that the client does not speak gets no proof', async () => {
    const { attempt } = await testSession()
    const hello = { ...attempt.hello, minorMin: 1, minorMax: 7 }
    await assert.rejects(proveSession({ ...attempt, hello }), { reason: 'unsupported-version' })
  })
})

describe('C01: a device’s proof', () => {
  test('holds for nothing but what was signed', async () => {
    const { attempt, device } = await testSession()
    const signed = await proveSession(attempt)
    for (const { name, hello, proof } of altered(attempt.hello, signed)) {
      const message = inContext(contexts.clientProof, transcriptOf(hello, proof))
      assert.equal(await verifySignature(device.publicKey, message, proof.signature), false, name)
    }
  })

  test('does not hold under another device’s key', async () => {
    const { attempt } = await testSession()
    const proof = await proveSession({ ...attempt, requestKey: await seededKey(seeded('another device')) })
    const message = inContext(contexts.clientProof, transcriptOf(attempt.hello, proof))
    assert.equal(await verifySignature(attempt.requestKey.publicKey, message, proof.signature), false)
  })

  test('for one server does not hold at another', async () => {
    const { attempt } = await testSession()
    const other = await seededKey(seeded('another server'))
    const proof = await proveSession(attempt)
    const message = inContext(
      contexts.clientProof,
      transcriptOf({ ...attempt.hello, serverKey: other.publicKey }, proof),
    )
    assert.equal(await verifySignature(attempt.requestKey.publicKey, message, proof.signature), false)
  })

  test('is no signature of a server, nor the other way round', async () => {
    const { attempt, server } = await testSession()
    const { hello } = attempt
    const proof = await proveSession({ ...attempt, requestKey: server })
    const asServer = { hello, proof, opened: { signature: proof.signature }, serverKey: server.publicKey }
    await assert.rejects(verifyServerProof(asServer), { reason: 'unproved' })
    const message = inContext(contexts.clientProof, transcriptOf(hello, proof))
    assert.equal(await verifySignature(server.publicKey, message, await serverSignature(server, hello, proof)), false)
  })

  test('is given to no server but the one in the link', async () => {
    const { attempt } = await testSession()
    let isSigned = false
    const requestKey = {
      ...attempt.requestKey,
      sign: (message: Uint8Array) => {
        isSigned = true
        return attempt.requestKey.sign(message)
      },
    }
    const { publicKey } = await seededKey(seeded('another server'))
    const hello = { ...attempt.hello, serverKey: publicKey }
    await assert.rejects(proveSession({ ...attempt, hello, requestKey }), { reason: 'unproved' })
    assert.equal(isSigned, false)
    await proveSession({ ...attempt, requestKey })
    assert.equal(isSigned, true)
  })
})

describe('C01: a server’s proof', () => {
  test('holds for no other session', async () => {
    const { attempt, server } = await testSession()
    const { serverKey } = attempt
    const signed = await proveSession(attempt)
    const opened = { signature: await serverSignature(server, attempt.hello, signed) }
    for (const { name, hello, proof } of altered(attempt.hello, signed))
      await assert.rejects(verifyServerProof({ hello, proof, opened, serverKey }), { reason: 'unproved' }, name)
  })

  test('holds for no other signature of the device', async () => {
    const { attempt, server } = await testSession()
    const { hello, serverKey } = attempt
    const proof = await proveSession(attempt)
    const other = { ...proof, signature: (await proveSession({ ...attempt, host: 'elsewhere' })).signature }
    const opened = { signature: await serverSignature(server, hello, other) }
    await assert.rejects(verifyServerProof({ hello, proof, opened, serverKey }), { reason: 'unproved' })
  })

  test('under another key is refused, also by a client to which that key was shown', async () => {
    const { attempt, server } = await testSession()
    const { hello, serverKey } = attempt
    const proof = await proveSession(attempt)
    const other = await seededKey(seeded('another server'))
    const shown = { ...hello, serverKey: other.publicKey }
    for (const [seen, signer] of [
      [hello, other],
      [shown, other],
      [shown, server],
    ] as const) {
      const opened = { signature: await serverSignature(signer, seen, proof) }
      await assert.rejects(verifyServerProof({ hello: seen, proof, opened, serverKey }), { reason: 'unproved' })
    }
  })
})

function range([minorMin, minorMax]: readonly [number, number]) {
  return { minorMin, minorMax }
}

function pick({ certificate, host, nonce, device }: Awaited<ReturnType<typeof testSession>>['attempt']) {
  return { certificate, host, nonce, device }
}
