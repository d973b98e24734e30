import { decode, encode, u64, utf8Encode } from '@messageu/protocol'
import type { Archive, ObjectChange } from '../archive.ts'
import type { Numbers } from './services.ts'

type Numbered = Parameters<Numbers['next']>[0]

/** Where the highest number given is kept. */
const keys: Readonly<Record<Numbered, Uint8Array>> = {
  account: utf8Encode('numbers/account'),
  device: utf8Encode('numbers/device'),
  conversation: utf8Encode('numbers/conversation'),
}

/**
 * Numbers that are never given twice. The change that comes with one says that it and all below were given, so that
 * steps have to be called in the order of their numbers: take a number only when nothing is waited for before the step.
 */
export class GivenNumbers implements Numbers {
  readonly #highest: Record<Numbered, number>

  private constructor(highest: Record<Numbered, number>) {
    this.#highest = highest
  }

  static async open(archive: Archive): Promise<GivenNumbers> {
    const highest = async (of: Numbered): Promise<number> => {
      const stored = await archive.get('server', keys[of])
      return stored === undefined ? 0 : decode(u64, stored)
    }
    return new GivenNumbers({
      account: await highest('account'),
      device: await highest('device'),
      conversation: await highest('conversation'),
    })
  }

  next(of: Numbered): { number: number; change: ObjectChange } {
    const number = ++this.#highest[of]
    return { number, change: { kind: 'server', key: keys[of], value: encode(u64, number) } }
  }

  /** How many were given, those included whose step failed. */
  given(of: Numbered): number {
    return this.#highest[of]
  }
}

/** Numbers as keys: 8 bytes each, big-endian, so that their order is the order of the keys. */
export function numberKey(...numbers: readonly number[]): Uint8Array {
  const key = Buffer.alloc(8 * numbers.length)
  for (const [i, number] of numbers.entries()) key.writeBigUInt64BE(BigInt(number), 8 * i)
  return key
}
