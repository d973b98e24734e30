import type fc from 'fast-check'
import { type Codec, nothing } from '../../src/codec.ts'
import { ProtocolError } from '../../src/errors.ts'
import * as v3 from '../../src/v3/index.ts'
import { type Documented, documented, onlyTable, typed } from './notation.ts'

export interface Decoder {
  readonly name: string
  readonly codec: Codec<unknown>
  readonly values: fc.Arbitrary<unknown>
  readonly examples: readonly unknown[]
}

const exported = Object.entries(v3).flatMap(([name, value]) => (isCodec(value) ? [{ name, codec: value }] : []))

/** Every codec that the source exports, by its name. */
export const exportedCodecs: ReadonlyMap<string, Codec<unknown>> = new Map(
  exported.map(({ name, codec }) => [name, codec]),
)

/** What is asked and answered, event by event and request by request; each codec once. */
const bodies: readonly Decoder[] = [
  ...onlyTable('code', 'event').map((row) => ({ notation: row('body'), name: row('event'), codec: eventBody(row) })),
  ...onlyTable('code', 'request').flatMap((row) => {
    const { request, response } = v3.operations[operationNamed(row('request'))]
    return [
      { notation: row('body'), name: `${row('request')}, asked`, codec: request },
      { notation: row('answer'), name: `${row('request')}, answered`, codec: response },
    ]
  }),
]
  .filter(({ codec }, i, all) => codec !== nothing && all.findIndex((each) => each.codec === codec) === i)
  .map(({ notation, ...each }) => ({ ...each, ...tried(typed(notation)) }))

/** Every codec that the source exports, and those that only the table of requests declares. */
export const decoders: readonly Decoder[] = [
  ...exported.map((each) => ({ ...each, ...tried(documented(each.name)) })),
  ...bodies.filter(({ codec }) => exported.every((each) => each.codec !== codec)),
]

/** The decoders that get bytes as a peer has sent them: whole bodies, and what lies in them as bytes. */
export const peerDecoders: readonly Decoder[] = [
  ...bodies,
  ...decoders.filter(({ name }) =>
    ['Refusal', 'ListEntry', 'ListEntryBody', 'DeliveredCommit', 'DeliveredWelcome'].includes(name),
  ),
]

function tried({ values, examples }: Documented): Pick<Decoder, 'values' | 'examples'> {
  return { values, examples }
}

function eventBody(row: (column: string) => string): Codec<unknown> {
  const found = Object.entries(v3.events).find(([name]) => name === row('event'))
  if (found === undefined) throw new Error(`there is no event ${row('event')}`)
  return found[1].body
}

export function operationNamed(name: string): v3.OperationName {
  const names = Object.keys(v3.operations) as v3.OperationName[] // its own keys
  const found = names.find((each) => each === name)
  if (found === undefined) throw new Error(`there is no request ${name}`)
  return found
}

/** What a decoder of version 3 may throw, and nothing else: §10. */
export function isRefusal(error: unknown): boolean {
  return error instanceof ProtocolError && ['malformed', 'bad-name'].includes(error.reason)
}

function isCodec(value: unknown): value is Codec<unknown> {
  return typeof value === 'object' && value !== null && 'read' in value && 'write' in value
}
