/** Cryptography that other threads are doing right now. */
let underWay = 0

const { prototype } = SubtleCrypto
for (const name of [
  'sign',
  'verify',
  'digest',
  'encrypt',
  'decrypt',
  'deriveBits',
  'deriveKey',
  'importKey',
  'exportKey',
  'generateKey',
] as const) {
  const original: (...args: never[]) => Promise<unknown> = Reflect.get(prototype, name)
  Reflect.set(prototype, name, function counted(this: unknown, ...args: never[]): Promise<unknown> {
    underWay += 1
    return Reflect.apply(original, this, args).finally(() => {
      underWay -= 1
    })
  })
}

/** Turns of the event loop without any cryptography under way, after which nothing happens by itself any more. */
const quietTurns = 12

/**
 * Resolves when nothing happens any more unless time passes or somebody does something: everything in these tests is
 * promises, turns of the event loop, and cryptography.
 */
export async function still(): Promise<void> {
  for (let turns = 0; turns < quietTurns; turns = underWay === 0 ? turns + 1 : 0)
    await new Promise((resolve) => setImmediate(resolve))
}
