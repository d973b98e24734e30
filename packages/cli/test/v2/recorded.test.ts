import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { answerHeader, Delivered, nameToText, PublicKey } from '@messageu/protocol/v2'
import * as v2 from '../../src/v2/client.ts'
import { newKeyPair, unwrapKey } from '../../src/v2/crypto.ts'
import { idFromText } from '../../src/v2/identity.ts'
import { startScript } from './fake-server.ts'
import { contentOf, type Exchange, plainOf, recording, sha256 } from './vectors.ts'
import { read } from './world.ts'

/** Who asks for a public key: the request carries the target's id, and does not say. */
const askersOfKeys: Record<string, Record<number, string>> = {
  'wire-suite': { 7: 'client2', 10: 'client1' },
  'wire-driver': { 5: 'alice', 6: 'bob' },
  'wire-session': { 8: 'vector-alice', 12: 'דוד-bob', 32: 'z'.repeat(254) },
}

for (const name of ['wire-suite', 'wire-session', 'wire-driver'])
  test(`${name}: our client sends what the original's sent, and understands what its server answered`, async (t) => {
    const { clients, exchanges } = recording(name)
    const folder = await mkdtemp(join(tmpdir(), 'messageu-recorded-'))
    t.after(() => rm(folder, { recursive: true, force: true }))

    const sent: Buffer[] = []
    await using server = await startScript((socket, request) => {
      const exchange = exchanges[sent.length] ?? assert.fail('one request more than was recorded')
      sent.push(request)
      socket.end(answerBytes(exchange))
    })
    const nameOf = (id: string): string => clients[id]?.name ?? assert.fail(`an unknown id ${id}`)
    const privateKeyOf = (id: string) => {
      const key = clients[id]?.privateKeyPkcs8
      return key && createPrivateKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'pkcs8' })
    }
    const actor = (who: string, more: Partial<v2.Client> = {}): v2.Client =>
      v2.openClient({ dir: join(folder, who.slice(0, 20)), server: server.address, ...more })

    for (let i = 0; i < exchanges.length; i = Math.max(i + 1, sent.length)) {
      const exchange = exchanges[i] ?? assert.fail()
      const { request, response } = exchange
      const asker = request.decoded.clientId
      switch (request.decoded.code) {
        case 100: {
          const publicKey = decode(PublicKey, Buffer.from(request.decoded.publicKey, 'hex'))
          const id = response.decoded.newClientId
          // where the private key is not known, nothing of the recording needs it
          const privateKey = (id && privateKeyOf(id)) || (await newKeyPair()).privateKey
          const client = actor(id ? request.decoded.name : `refused ${i}`, {
            newKeyPair: async () => ({ publicKey, privateKey }),
          })
          const registering = v2.register(client, request.decoded.name)
          if (id !== undefined) assert.equal(v2.idText((await registering).id), id)
          else if (request.decoded.name.length > 1) await assert.rejects(registering, { code: 'refused' })
          else {
            await assert.rejects(registering, { code: 'bad-name' })
            sent.push(exchangeRequest(exchange)) // ours does not even ask
          }
          break
        }
        case 101: {
          const listed = await v2.people(actor(nameOf(asker)))
          assert.deepEqual(
            listed.map((each) => ({ id: v2.idText(each.client), name: nameToText(each.name) })),
            response.decoded.clients,
          )
          break
        }
        case 102: {
          const client = actor(askersOfKeys[name]?.[exchange.n] ?? assert.fail())
          const { publicKey } = await v2.publicKey(client, nameOf(request.decoded.targetId))
          assert.equal(Buffer.from(publicKey).toString('hex'), response.decoded.publicKey)
          break
        }
        case 103: {
          const key = request.decoded.aesKey ?? ''
          const client = actor(nameOf(asker), { random: () => Buffer.from(key, 'hex') })
          const receipt = await send(client, nameOf(request.decoded.toId), exchange, folder)
          assert.equal(receipt.id, response.decoded.messageId)
          break
        }
        case 104: {
          const readings = await read(actor(nameOf(asker)))
          assert.equal(readings.length, response.decoded.messages.length)
          for (const [k, message] of response.decoded.messages.entries()) await assertSame(readings[k], message)
        }
      }
    }

    assert.equal(sent.length, exchanges.length)
    for (const [i, exchange] of exchanges.entries()) {
      const ours = sent[i] ?? assert.fail()
      const { decoded } = exchange.request
      if (decoded.messageTypeName !== 'key') {
        assert.equal(sha256(ours), sha256(exchangeRequest(exchange)), `request ${exchange.n}`)
        continue
      }
      const theirs = exchangeRequest(exchange)
      assert.deepEqual(ours.subarray(0, -128), theirs.subarray(0, -128), `request ${exchange.n} up to the wrapped key`)
      const privateKey = privateKeyOf(decoded.toId)
      if (privateKey)
        assert.equal(
          Buffer.from(unwrapKey(ours.subarray(-128), privateKey)?.reveal() ?? []).toString('hex'),
          decoded.aesKey,
        )
    }
  })

function send(client: v2.Client, who: string, { request }: Exchange, folder: string): Promise<v2.Sent> {
  const { decoded } = request
  const { messageTypeName: kind = 'file' } = decoded
  switch (kind) {
    case 'key-request':
      return v2.askForKey(client, who)
    case 'key':
      return v2.giveKey(client, who)
    case 'text':
      return v2.sendText(client, who, plain(request).toString())
    case 'file': {
      const path = join(folder, 'sent')
      return writeFile(path, plain(request)).then(() => v2.sendFile(client, who, path))
    }
  }
}

/** Made by the rules in the notes, or opened with the recorded key. */
function plain({ decoded, hex }: Exchange['request']): Buffer {
  const known = plainOf(decoded)
  if (known !== undefined) return known
  const { createDecipheriv } = process.getBuiltinModule('node:crypto')
  const decipher = createDecipheriv('aes-128-cbc', Buffer.from(decoded.aesKey ?? '', 'hex'), Buffer.alloc(16))
  const content = Buffer.from(hex ?? '', 'hex').subarray(-(decoded.contentSize ?? 0))
  const opened = Buffer.concat([decipher.update(content), decipher.final()])
  return decoded.messageTypeName === 'text' ? opened.subarray(0, -1) : opened
}

async function assertSame(
  reading: v2.Reading | undefined,
  message: Exchange['response']['decoded']['messages'][number],
): Promise<void> {
  assert.ok(reading?.kind === 'message')
  const { content } = reading
  assert.deepEqual(
    [reading.id, v2.idText(reading.from.id), content.kind],
    [message.messageId, message.fromId, message.messageTypeName],
  )
  if (content.kind === 'text')
    assert.equal(
      message.text === undefined ? sha256(Buffer.from(content.text)) : content.text,
      message.text ?? message.textSha256,
    )
  if (content.kind === 'file') assert.equal(sha256(await readFile(content.path)), message.plainSha256)
}

function exchangeRequest({ request }: Exchange): Buffer {
  if (request.hex !== undefined) return Buffer.from(request.hex, 'hex')
  const head = Buffer.from(request.headHex ?? '', 'hex').subarray(0, 43)
  const whole = Buffer.concat([head, contentOf(request.decoded)])
  assert.equal(sha256(whole), request.sha256)
  return whole
}

function answerBytes({ response }: Exchange): Buffer {
  if (response.hex !== undefined) return Buffer.from(response.hex, 'hex')
  const messages = response.decoded.messages.flatMap((message) => {
    const content = contentOf(message)
    const sender = idFromText(message.fromId) ?? assert.fail()
    const header = { sender, message: message.messageId, type: message.messageTypeName, contentBytes: content.length }
    return [encode(Delivered, header), content]
  })
  const payload = Buffer.concat(messages)
  const whole = Buffer.concat([answerHeader('fetch', payload.length), payload])
  assert.equal(sha256(whole), response.sha256)
  return whole
}
