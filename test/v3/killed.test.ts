import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { test } from 'node:test'
import { toBase64url } from '@messageu/protocol/v3'
import { compileCache } from '../serverProcess.ts'
import { assertOneOrder, conversationOf, textsOf, World } from './world.ts'

const count = 3
/** More than a life has; the loop ends at the first life that ends by itself. */
const stepsMax = 200

const program = path.join(import.meta.dirname, 'killed-device.ts')

/** Runs the device until it ends, by itself or at its step. */
async function live(...args: readonly string[]): Promise<{ wasKilled: boolean }> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
  })
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  assert(code === 0 || signal === 'SIGKILL', `ended with ${code ?? signal}`)
  return { wasKilled: signal === 'SIGKILL' }
}

test('K07, I1, I2, I3: a device killed between any two steps of sending and receiving loses nothing and repeats nothing', async (t) => {
  await using world = await World.start()
  const alice = await world.person('alice')
  let heardBefore = 0
  let point = 1
  for (; ; point++) {
    assert(point < stepsMax, 'a life has an end')
    const name = `bob${point}`
    const bob = await world.person(name)
    const conversation = await conversationOf(alice, bob)
    await bob[Symbol.asyncDispose]()
    for (let i = 0; i < count; i++) await alice.say(conversation, `alice ${i}`, { epoch: 1 })

    const life = [world.folderOf(name), world.link, toBase64url(conversation), String(count)]
    const { wasKilled } = await live(...life, String(point))
    if (wasKilled) assert.equal((await live(...life, '0')).wasKilled, false)

    const numbers = Array.from({ length: count }, (_, i) => i)
    const aliceHeard = (await alice.hears(heardBefore + count)).slice(heardBefore)
    heardBefore += count
    assert.deepEqual(
      aliceHeard,
      numbers.map((i) => `bob ${i}`),
      `killed at step ${point}`,
    )
    const back = await world.open({ folder: world.folderOf(name) })
    const bobHeard = await back.heard()
    assert.deepEqual(
      textsOf(bobHeard, 'alice'),
      numbers.map((i) => `alice ${i}`),
      `killed at step ${point}`,
    )
    assertOneOrder(new Map([[name, bobHeard]]))
    await back[Symbol.asyncDispose]()
    if (!wasKilled) break
  }
  t.diagnostic(`${point - 1} steps`)
})
