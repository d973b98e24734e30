import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type Codec, decode, encode } from '../../src/codec.ts'
import {
  accountName,
  answers,
  authorityOf,
  contexts,
  continueList,
  type DeviceList,
  events,
  formatLink,
  inContext,
  operations,
  type PublicKey,
  parseLink,
  Refusal,
  readFrames,
  readList,
  reasonCodes,
  SessionTranscript,
  Signature,
  skeletonOf,
  writeFrame,
} from '../../src/v3/index.ts'
import { joined } from '../fuzz.ts'
import { exportedCodecs, operationNamed } from './decoders.ts'
import { holds, key, keysOf, sha256 } from './lists.ts'

/** `messages.json` and the others, in the shape that the README beside them describes. */
interface Framed {
  readonly name: string
  readonly request: string
  readonly event: string
  readonly code: number
  readonly number: number
  readonly frame: string
  readonly value: unknown
}
interface Messages {
  readonly requests: readonly Framed[]
  readonly answers: readonly Framed[]
  readonly events: readonly Framed[]
  readonly refusals: readonly Framed[]
  readonly structures: readonly { name: string; type: string; hex: string; value: unknown }[]
  readonly messages: readonly { name: string; hex: string; frames: readonly string[] }[]
}
interface Malformed {
  readonly malformed: readonly { name: string; what: string; reason: string; hex: string }[]
}
interface DeviceLists {
  readonly name: string
  readonly account: string
  readonly entries: readonly {
    change: string
    signer: string
    entry: string
    then: { version: number; hash: string; managerKey: string; devices: readonly string[]; isClosed: boolean }
  }[]
  readonly refused: readonly { name: string; after: number; reason: string; entry: string }[]
}
interface Sessions {
  readonly sessions: readonly {
    name: string
    value: unknown
    transcript: string
    clientMessage: string
    clientSignature: string
    serverMessage: string
    serverSignature: string
  }[]
}
interface Names {
  readonly accepted: readonly string[]
  readonly refused: readonly string[]
  readonly alike: readonly (readonly string[])[]
}
interface Links {
  readonly links: readonly {
    text: string
    host: string
    port: number
    serverKey: string
    invite: string | null
    written: string
    authority: string
  }[]
  readonly malformed: readonly string[]
}

function vectors<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(`../../vectors/v3/${file}`, import.meta.url), 'utf8'))
}

function bytesOf(hex: string): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'))
  assert.equal(bytes.length * 2, hex.length, 'all of it is hexadecimal')
  return bytes
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** A value as the vectors write it. */
function plain(value: unknown): unknown {
  if (value === undefined) return null
  if (value instanceof Uint8Array) return hexOf(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]))
}

function assertStandsFor(codec: Codec<unknown>, wire: Uint8Array, value: unknown): void {
  const decoded = decode(codec, wire)
  assert.deepEqual(plain(decoded), value)
  assert.equal(hexOf(encode(codec, decoded)), hexOf(wire))
}

function assertFrame({ code, number = 0, frame, value }: Framed, codec: Codec<unknown>): void {
  const [read, ...others] = readFrames(bytesOf(frame))
  assert.ok(read !== undefined && others.length === 0)
  assert.deepEqual([read.code, read.request], [code, number])
  assertStandsFor(codec, read.body, value)
  assert.equal(hexOf(writeFrame(read)), frame)
}

function eventNamed(name: string): (typeof events)[keyof typeof events] {
  const found = Object.entries(events).find(([each]) => each === name)
  return found?.[1] ?? assert.fail(`there is no event ${name}`)
}

describe('messages.json:', () => {
  const all = vectors<Messages>('messages.json')

  for (const each of all.requests)
    test(each.name, () => {
      const { code, request } = operations[operationNamed(each.request)]
      assert.equal(each.code, code)
      assertFrame(each, request)
    })
  for (const each of all.answers)
    test(each.name, () => {
      assert.equal(each.code, answers.done)
      assertFrame(each, operations[operationNamed(each.request)].response)
    })
  for (const each of all.events)
    test(each.name, () => {
      const { code, body } = eventNamed(each.event)
      assert.equal(each.code, code)
      assertFrame(each, body)
    })
  for (const each of all.refusals)
    test(`refusal: ${each.name}`, () => {
      assert.equal(each.code, answers.refused)
      assertFrame(each, Refusal)
    })
  for (const { name, type, hex, value } of all.structures)
    test(name, () => assertStandsFor(exportedCodecs.get(type) ?? assert.fail(type), bytesOf(hex), value))
  for (const { name, hex, frames } of all.messages)
    test(name, () => {
      assert.deepEqual(readFrames(bytesOf(hex)).map(writeFrame).map(hexOf), frames)
      assert.equal(hexOf(joined(...frames.map(bytesOf))), hex)
    })

  test('has every request, answer, event and reason', () => {
    const names = <K extends 'request' | 'event' | 'name'>(from: readonly Framed[], by: K) =>
      new Set(from.map((each) => each[by]))
    assert.deepEqual(names(all.requests, 'request'), new Set(Object.keys(operations)))
    assert.deepEqual(names(all.answers, 'request'), new Set(Object.keys(operations)))
    assert.deepEqual(names(all.events, 'event'), new Set(Object.keys(events)))
    assert.deepEqual(names(all.refusals, 'name'), new Set(Object.keys(reasonCodes)))
  })
})

describe('malformed.json:', () => {
  const { malformed } = vectors<Malformed>('malformed.json')

  for (const { name, what, reason, hex } of malformed)
    test(`${what}: ${name} is refused`, () => {
      const wire = bytesOf(hex)
      const read = what === 'message' ? () => readFrames(wire) : () => decode(codecOf(what), wire)
      assert.throws(read, { name: 'ProtocolError', reason })
    })

  test('has something for every request, answer and event', () => {
    const found = new Set(malformed.map(({ what }) => what))
    const wanted = [
      ...Object.keys(operations).flatMap((name) => [`request ${name}`, `answer to ${name}`]),
      ...Object.keys(events).map((name) => `event ${name}`),
    ]
    assert.deepEqual(
      wanted.filter((what) => !found.has(what)),
      [],
    )
  })

  function codecOf(what: string): Codec<unknown> {
    const [, kind, name = ''] = /^(request|answer to|event) (.+)$/.exec(what) ?? []
    if (kind === 'event') return eventNamed(name).body
    if (kind === 'request') return operations[operationNamed(name)].request
    if (kind === 'answer to') return operations[operationNamed(name)].response
    return exportedCodecs.get(what) ?? assert.fail(`there is no ${what}`)
  }
})

describe('devicelist.json:', () => {
  const { account, name, entries, refused } = vectors<DeviceLists>('devicelist.json')
  const wires = entries.map(({ entry }) => bytesOf(entry))

  for (const [i, { change, signer, then }] of entries.entries())
    test(`entry ${i + 1}, ${change} by the ${signer} key, continues the list`, () => {
      const { list, checks } = readList(wires.slice(0, i + 1), sha256)
      assert.ok(checks.every(holds))
      assert.deepEqual([hexOf(list.account), list.name], [account, name])
      const { version, hash, managerKey, devices, isClosed } = list
      const found = { version, hash, managerKey, devices: devices.map(({ device }) => device), isClosed }
      assert.deepEqual(plain(found), then)
    })

  for (const { name, after, reason, entry } of refused)
    test(`S01 S03: an entry is refused behind entry ${after}: ${name}`, () => {
      const list = after === 0 ? undefined : readList(wires.slice(0, after), sha256).list
      assert.equal(reasonFor(list, bytesOf(entry)), reason)
    })

  /** What a reader says that checks the signatures as well. */
  function reasonFor(list: DeviceList | undefined, entry: Uint8Array): unknown {
    try {
      return continueList(list, entry, sha256).checks.every(holds) ? 'good' : 'bad-list'
    } catch (error) {
      return error instanceof Error && 'reason' in error ? error.reason : error
    }
  }
})

describe('session.json:', () => {
  for (const each of vectors<Sessions>('session.json').sessions)
    test(`a session ${each.name} is proved by both sides`, () => {
      const transcript = bytesOf(each.transcript)
      assertStandsFor(SessionTranscript, transcript, each.value)
      const { clientSignature, serverSignature } = each
      const device = keysOf(0).requesting.publicKey
      const server = key(4).publicKey
      const forDevice = inContext(contexts.clientProof, transcript)
      const forServer = inContext(contexts.serverProof, transcript, bytesOf(clientSignature))
      assert.deepEqual([hexOf(forDevice), hexOf(forServer)], [each.clientMessage, each.serverMessage])
      assertSigned(device, forDevice, clientSignature)
      assertSigned(server, forServer, serverSignature)
    })

  function assertSigned(by: PublicKey, message: Uint8Array, signature: string): void {
    assert.ok(holds({ key: by, message, signature: decode(Signature, bytesOf(signature)) }))
  }
})

describe('names.json:', () => {
  const { accepted, refused, alike } = vectors<Names>('names.json')

  for (const name of accepted)
    test(`C08: ${JSON.stringify(name)} is a name`, () => assert.equal(accountName(name), name))
  for (const name of refused)
    test(`C08: ${JSON.stringify(name)} is none`, () => assert.throws(() => accountName(name), { reason: 'bad-name' }))
  for (const names of alike)
    test(`C08: ${names.join(' and ')} look alike`, () => {
      assert.ok(names.length > 1)
      assert.equal(new Set(names.map((name) => skeletonOf(accountName(name)))).size, 1)
    })
})

describe('links.json:', () => {
  const { links, malformed } = vectors<Links>('links.json')

  for (const { text, written, authority, ...expected } of links)
    test(`${text} is a link`, () => {
      const link = parseLink(text)
      assert.deepEqual(plain(link), expected)
      assert.deepEqual([formatLink(link), authorityOf(link)], [written, authority])
    })
  for (const text of malformed)
    test(`C14: ${JSON.stringify(text.slice(0, 60))} is none`, () =>
      assert.throws(() => parseLink(text), { reason: 'malformed' }))
})
