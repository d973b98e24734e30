import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Pace, type Paced } from '../../src/v3/pace.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Somebody with requests to begin, and in which turn each was begun. */
class Asker implements Paced {
  readonly begun: number[] = []
  #left: number
  readonly #pace: Pace
  readonly #turns: { count: number }

  constructor(requests: number, pace: Pace, turns: { count: number }) {
    this.#left = requests
    this.#pace = pace
    this.#turns = turns
  }

  get wanted(): number {
    return this.#left
  }

  goOn(): void {
    const granted = this.#pace.take(this.#left)
    this.#left -= granted
    for (let i = 0; i < granted; i++) this.begun.push(this.#turns.count)
    if (this.#left > 0) this.#pace.wait(this)
  }
}

/** Lets askers begin, until all have. Returns how many requests were begun in each turn. */
async function perTurn(requests: readonly number[]): Promise<{ askers: Asker[]; counts: number[] }> {
  const pace = new Pace()
  const turns = { count: 0 }
  const askers = requests.map((count) => new Asker(count, pace, turns))
  for (const asker of askers) asker.goOn()
  const all = requests.reduce((sum, count) => sum + count, 0)
  const begun = (): number[] => askers.flatMap((asker) => asker.begun)
  while (begun().length < all) {
    turns.count += 1
    await turn()
  }
  const counts = Array.from({ length: turns.count + 1 }, (_, i) => begun().filter((each) => each === i).length)
  return { askers, counts }
}

suite('the pace of requests', () => {
  test('one turn begins no more than its share, however many ask, and nothing is forgotten', async () => {
    const { counts } = await perTurn(Array.from({ length: 100 }, () => 32))
    assert.ok(Math.max(...counts) <= 128, `${counts}`)
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      3200,
    )
  })

  test('whoever asks for much does not keep those waiting who came behind it', async () => {
    const { askers } = await perTurn([10_000, 1, 1])
    const [greedy, ...others] = askers
    for (const { begun } of others) assert.ok((begun[0] as number) < 3, `begun in turn ${begun[0]}`)
    assert.ok((greedy?.begun.at(-1) as number) > 70)
  })

  test('what came together begins together, and nobody who waits for that is passed by for ever', async () => {
    const sizes = [32, 5, 100, 128, 1, 64, 300, 2, 31, 120]
    const { askers } = await perTurn(sizes)
    for (const [i, { begun }] of askers.entries()) {
      const turns = new Set(begun).size
      assert.equal(turns, Math.ceil((sizes[i] as number) / 128), `${sizes[i]} in ${turns} turns`)
    }
    const firsts = askers.map(({ begun }) => begun[0] as number)
    assert.ok(Math.max(...firsts) <= sizes.length, `${firsts}`)
  })

  test('who is alone and asks for little does not wait', async () => {
    const { askers } = await perTurn([128])
    assert.deepEqual(new Set(askers[0]?.begun), new Set([0]))
  })
})
