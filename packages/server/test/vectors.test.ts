import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { startV2, storages, temporaryFolder } from './world.ts'

interface Bytes {
  hex?: string
  size?: number
  sha256?: string
  headHex?: string
  decoded: Record<string, unknown>
}
interface Session {
  session: string
  exchanges: { n: number; request: Bytes; response: Bytes }[]
}

const folder = new URL('../../protocol/vectors/v2/', import.meta.url)
const sessions = ['wire-suite', 'wire-session', 'wire-driver'].map(
  (name) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as Session,
)

/** The whole of a recorded request: where only its head is recorded, any content of that size does. */
function requestBytes({ hex, size, headHex }: Bytes): Buffer {
  if (hex !== undefined) return Buffer.from(hex, 'hex')
  const bytes = Buffer.alloc(size as number, 0x5a)
  Buffer.from(headHex as string, 'hex').copy(bytes)
  return bytes
}

/** Replaces recorded ids by those handed out here; ids are random, so they occur nowhere by chance. */
function mapped(hex: string, ids: ReadonlyMap<string, string>): string {
  let result = hex
  for (const [from, to] of ids) result = result.replaceAll(from, to)
  return result
}

/** Message ids come from the store: they are compared by order, and then replaced by the recorded ones. */
function withRecordedMessageIds(answer: Buffer, expected: Bytes, ids: Map<number, number>): Buffer {
  const copy = Buffer.from(answer)
  const { messages, messageId } = expected.decoded as {
    messages?: { messageId: number; contentSize: number }[]
    messageId?: number
  }
  let at = 7
  const replace = (recorded: number): void => {
    const ours = copy.readUInt32LE(at + 16)
    assert.equal(ids.get(ours) ?? recorded, recorded, 'the same message has the same id everywhere')
    ids.set(ours, recorded)
    copy.writeUInt32LE(recorded, at + 16)
  }
  if (messageId !== undefined) replace(messageId)
  for (const message of messages ?? []) {
    replace(message.messageId)
    at += 25 + message.contentSize
  }
  return copy
}

suite('G01 the recorded traffic of the original is answered byte for byte', () => {
  for (const [kind, open] of Object.entries(storages))
    for (const { session, exchanges } of sessions)
      test(`${session} on ${kind}`, async () => {
        await using temporary = await temporaryFolder()
        await using world = await startV2(await open(temporary.path))
        const ids = new Map<string, string>()
        const messages = new Map<number, number>()
        const contents = new Map<number, Buffer>()
        for (const { n, request, response } of exchanges) {
          const sent = Buffer.from(mapped(requestBytes(request).toString('hex'), ids), 'hex')
          const answer = await world.ask(sent)
          const { newClientId, messageId } = response.decoded as { newClientId?: string; messageId?: number }
          if (newClientId !== undefined) ids.set(newClientId, answer.subarray(7).toString('hex'))
          if (messageId !== undefined) contents.set(messageId, sent.subarray(43))
          const got = withRecordedMessageIds(answer, response, messages)
          if (response.hex !== undefined) {
            assert.equal(got.toString('hex'), mapped(response.hex, ids), `exchange ${n}`)
            continue
          }
          assert.equal(got.length, response.size, `exchange ${n}`)
          let at = 7
          for (const message of response.decoded.messages as { messageId: number; contentSize: number }[]) {
            const content = got.subarray(at + 25, at + 25 + message.contentSize)
            assert.deepEqual(digest(content), digest(contents.get(message.messageId) as Buffer), `exchange ${n}`)
            at += 25 + message.contentSize
          }
          assert.equal(at, got.length)
        }
      })
})

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
