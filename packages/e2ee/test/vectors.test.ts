import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import {
  AccountId,
  accountIdOf,
  contexts,
  DeviceBinding,
  DeviceCertificate,
  DeviceId,
  Hello,
  inContext,
  Proof,
  PublicKey,
  Signature,
} from '@messageu/protocol/v3'
import { sha256 } from '@noble/hashes/sha2.js'
import { certify } from '../src/device.ts'
import { safetyNumber } from '../src/safetynumber.ts'
import { Secret } from '../src/secret.ts'
import { proveSession, verifyServerProof } from '../src/session.ts'
import { signingKey, verifySignature } from '../src/signing.ts'
import { continueVerified, verifyList } from '../src/verifiedlist.ts'
import { accountKeyFromWords, parseWords } from '../src/words.ts'
import certificates from '../vectors/certificates.json' with { type: 'json' }
import lists from '../vectors/lists.json' with { type: 'json' }
import safetyNumbers from '../vectors/safety-numbers.json' with { type: 'json' }
import sessions from '../vectors/sessions.json' with { type: 'json' }
import words from '../vectors/words.json' with { type: 'json' }
import { format, makers } from './golden/make.ts'
import { transcriptOf } from './golden/sessions.ts'
import { fromHex, toHex } from './hex.ts'

const files = { words, certificates, lists, 'safety-numbers': safetyNumbers, sessions }

for (const [name, make] of Object.entries(makers))
  test(`${name}.json is what this program makes`, async () => {
    assert.equal(format(files[name as keyof typeof makers]), format(await make()))
  })

describe('words', () => {
  test('stand for their bytes, the account key and the account id', async () => {
    for (const { words: text, entropy, accountKey, account } of words.valid) {
      const parsed = parseWords(text)
      assert.equal(toHex(parsed.entropy().reveal()), entropy)
      const { publicKey } = await accountKeyFromWords(parsed)
      assert.equal(toHex(publicKey), accountKey)
      assert.equal(toHex(accountIdOf(publicKey, sha256)), account)
    }
  })

  test('of the entropy zero are those that BIP-39 publishes', () => {
    assert.equal(words.valid[0]?.words, `${'abandon '.repeat(23)}art`)
    assert.equal(words.valid[1]?.words, `${'zoo '.repeat(23)}vote`)
  })

  for (const { name, text, accountKey } of words.forgiven)
    test(`are read with ${name}`, async () => {
      assert.equal(toHex((await accountKeyFromWords(parseWords(text))).publicKey), accountKey)
    })

  for (const { name, text, reason } of words.refused)
    test(`are refused: ${name}`, () => {
      assert.throws(() => parseWords(text), { reason })
    })
})

test('certificates grow from their seeds, account and server', async () => {
  for (const vector of certificates.valid) {
    const account = decode(AccountId, fromHex(vector.account))
    const serverKey = decode(PublicKey, fromHex(vector.serverKey))
    const device = decode(DeviceId, fromHex(vector.device))
    const certificate = await certify(
      { device, signatureSeed: secret(vector.signatureSeed), requestSeed: secret(vector.requestSeed) },
      { account, serverKey },
    )
    assert.equal(toHex(encode(DeviceCertificate, certificate)), vector.certificate)
    const { signatureKey, requestKey } = certificate
    const binding = encode(DeviceBinding, { account, serverKey, device, signatureKey, requestKey })
    assert.equal(toHex(binding), vector.binding)
  }
})

describe('device lists', () => {
  const entries = lists.history.map(({ entry }) => fromHex(entry))

  test('say after each entry what stands beside it', async () => {
    for (const [index, expected] of lists.history.entries()) {
      const list = await verifyList(entries.slice(0, index + 1))
      assert.deepEqual(
        {
          name: expected.name,
          entry: expected.entry,
          hash: toHex(list.hash),
          managerKey: toHex(list.managerKey),
          devices: list.devices.map(({ device, since }) => ({ device: toHex(device), since })),
          formerDevices: list.formerDevices.map(toHex),
          isClosed: list.isClosed,
        },
        expected,
      )
      assert.equal(list.version, index + 1)
    }
  })

  test('name the keys that grow from the seeds beside them', async () => {
    const list = await verifyList(entries.slice(0, 1))
    assert.equal(toHex(list.account), lists.account)
    assert.equal(list.name, lists.name)
    assert.deepEqual(list.accountKey, (await signingKey(secret(lists.accountSeed))).publicKey)
    assert.deepEqual(list.managerKey, (await signingKey(secret(lists.managerSeeds[0] ?? ''))).publicKey)
  })

  for (const { name, after, entries: bad, fault } of lists.refused)
    test(`W05: are refused: ${name} (${fault})`, async () => {
      const before = entries.slice(0, after)
      const tried = bad.map(fromHex)
      const refusal = { reason: 'bad-list' }
      await assert.rejects(verifyList([...before, ...tried]), refusal)
      if (after > 0) await assert.rejects(continueVerified(await verifyList(before), tried), refusal)
    })
})

test('safety numbers have their digits and their code, whoever comes first', () => {
  for (const { one, other, digits, payload } of safetyNumbers.valid)
    for (const pair of [
      [one, other],
      [other, one],
    ] as const) {
      const [first, second] = pair.map((side) => ({
        account: decode(AccountId, fromHex(side.account)),
        accountKey: decode(PublicKey, fromHex(side.accountKey)),
      }))
      assert.ok(first && second)
      const number = safetyNumber(first, second)
      assert.equal(number.digits, digits)
      assert.equal(toHex(number.payload), payload)
    }
})

describe('session proofs', () => {
  for (const [index, vector] of sessions.valid.entries()) {
    const hello = decode(Hello, fromHex(vector.hello))
    const proof = decode(Proof, fromHex(vector.proof))
    const opened = { signature: decode(Signature, fromHex(vector.serverSignature)) }

    test(`are made and accepted by both sides: ${index + 1}`, async () => {
      const serverKey = (await signingKey(secret(vector.serverSeed))).publicKey
      const requestKey = await signingKey(secret(vector.requestSeed))
      assert.equal(toHex(transcriptOf(hello, proof)), vector.transcript)
      const again = await proveSession({ ...proof, hello, serverKey, requestKey })
      assert.equal(toHex(encode(Proof, again)), vector.proof)
      await verifyServerProof({ hello, proof, opened, serverKey })
    })

    for (const { name, ...changed } of vector.refused)
      test(`are refused by both sides with ${name}: ${index + 1}`, async () => {
        const { publicKey: serverKey } = await signingKey(secret(vector.serverSeed))
        const { publicKey: requestKey } = await signingKey(secret(vector.requestSeed))
        const other = { hello: decode(Hello, fromHex(changed.hello)), proof: decode(Proof, fromHex(changed.proof)) }
        await assert.rejects(verifyServerProof({ ...other, opened, serverKey }), { reason: 'unproved' })
        const message = inContext(contexts.clientProof, transcriptOf(other.hello, other.proof))
        assert.equal(await verifySignature(requestKey, message, other.proof.signature), false)
      })
  }
})

function secret(hex: string): Secret {
  return new Secret(fromHex(hex))
}
