import { type Codec, encode, nothing } from '../codec.ts'
import { Addressed, ClientId, Listing, PublicKeyOf, Receipt, Registration, ResponseHeader, Target } from './messages.ts'

/** The five requests: number, what the payload begins with, number and payload of the answer. §3 */
// biome-ignore format: the columns are the point
export const operations = {
  register: { code: 100, request: Registration, content: false, answer: 1000, response: ClientId },
  list:     { code: 101, request: nothing,      content: false, answer: 1001, response: Listing },
  key:      { code: 102, request: Target,       content: false, answer: 1002, response: PublicKeyOf },
  send:     { code: 103, request: Addressed,    content: true,  answer: 1003, response: Receipt },
  fetch:    { code: 104, request: nothing,      content: false, answer: 1004, response: undefined }, // a stream: §3.5
} as const satisfies Record<string, Operation>

interface Operation {
  readonly code: number
  readonly request: Codec<unknown>
  readonly content: boolean
  readonly answer: number
  readonly response: Codec<unknown> | undefined
}

export type OperationName = keyof typeof operations

/** Every request carries this version and so does every answer. §2 */
export const version = 2

const errorCode = 9000

/** The answer to every request that is not served, whatever the reason: `02 28 23 00 00 00 00`. §4 */
export const refusal: Uint8Array = encode(ResponseHeader, { version, code: errorCode, payloadBytes: 0 })

export function operationOf(code: number): OperationName | undefined {
  for (const name in operations) if (operations[name as OperationName].code === code) return name as OperationName
  return undefined
}

/** The header of the answer to `operation`, in front of `payloadBytes` bytes. §4 */
export function answerHeader(operation: OperationName, payloadBytes: number): Uint8Array {
  return encode(ResponseHeader, { version, code: operations[operation].answer, payloadBytes })
}
