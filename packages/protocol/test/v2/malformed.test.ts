import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decode } from '../../src/codec.ts'
import { Listing } from '../../src/v2/messages.ts'
import { type OperationName, operations } from '../../src/v2/operations.ts'
import { readAnswerHeader } from '../../src/v2/response.ts'
import { readDelivery, readRequest, singleBytes } from './reading.ts'

interface Malformed {
  readonly name: string
  /** `request`, `list`, `delivery` or `answer to …`: which decoder refuses it. */
  readonly what: string
  readonly reason: string
  readonly hex: string
}

const file = new URL('../../vectors/v2/malformed.json', import.meta.url)
const { malformed }: { malformed: readonly Malformed[] } = JSON.parse(readFileSync(file, 'utf8'))

for (const { name, what, reason, hex } of malformed)
  test(`${what}: ${name} is refused`, () => {
    const wire = Uint8Array.from(Buffer.from(hex, 'hex'))
    const refused = { name: 'ProtocolError', reason }
    switch (what) {
      case 'request':
        for (const pieces of [[wire], singleBytes(wire)]) {
          const read = readRequest(pieces)
          assert.deepEqual([read.refused?.reason, read.complete], [reason, false])
        }
        break
      case 'delivery':
        for (const pieces of [[wire], singleBytes(wire)]) assert.equal(readDelivery(pieces).refused?.reason, reason)
        break
      case 'list':
        assert.throws(() => decode(Listing, wire), refused)
        break
      default:
        assert.throws(() => readAnswerHeader(operationIn(what), wire), refused)
    }
  })

function operationIn(what: string): OperationName {
  const name = (Object.keys(operations) as OperationName[]).find((each) => what === `answer to ${each}`)
  assert.ok(name, what)
  return name
}
