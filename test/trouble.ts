import type { Oracle } from './oracle.ts'

/** Clients that do one thing after the other until the server is gone. */
export async function trouble(
  oracle: Oracle,
  names: readonly string[],
  random: () => number,
  over: AbortSignal,
): Promise<void> {
  const any = (): string => names[Math.floor(random() * names.length)] as string
  const client = async (name: string): Promise<void> => {
    while (!over.aborted) {
      const choice = random()
      if (choice < 0.7) await oracle.send(name, any(), choice < 0.1 ? 66_000 + random() * 200_000 : random() * 2000)
      else if (choice < 0.9) await oracle.fetch(name)
      else await oracle.breakOffFetch(name)
    }
  }
  await Promise.all(names.map(client))
}

/** mulberry32 */
export function randomFrom(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
