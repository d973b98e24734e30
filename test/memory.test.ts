import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Oracle } from './oracle.ts'
import { ServerProcess, temporaryFolder } from './serverProcess.ts'
import { randomFrom } from './trouble.ts'
import { list } from './v2peer.ts'

const linux = { skip: process.platform !== 'linux' && 'counts what /proc shows' }

test('I9 after 2000 requests of all kinds every descriptor is back, and memory is bounded', linux, async (t) => {
  await using temporary = await temporaryFolder('memory')
  await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: ['--log-level', 'error'] })
  const { pid, address } = server
  const oracle = new Oracle()
  oracle.meet(address)
  const names = ['alice', 'bob', 'carol', 'dave']
  for (const name of names) await oracle.register(name)
  const random = randomFrom(9)
  const any = (): string => names[Math.floor(random() * names.length)] as string
  let registered = 0
  const requests = async (name: string, count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const choice = random()
      if (choice < 0.6) await oracle.send(name, any(), choice < 0.06 ? 70_000 + random() * 300_000 : random() * 3000)
      else if (choice < 0.75) await oracle.fetch(name)
      else if (choice < 0.85) await oracle.breakOffFetch(name)
      else if (choice < 0.9) await oracle.register(`person ${registered++}`)
      else await list(address, oracle.idOf(name) ?? assert.fail())
    }
  }
  await Promise.all(names.map((name) => requests(name, 125)))
  await oracle.judge()
  const before = { descriptors: await descriptors(pid), resident: await residentMiB(pid) }
  await Promise.all(names.map((name) => requests(name, 375)))
  await oracle.judge()
  let after = await descriptors(pid)
  for (let i = 0; i < 20 && after > before.descriptors; i++) {
    await sleep(50)
    after = await descriptors(pid)
  }
  const resident = await residentMiB(pid)
  t.diagnostic(`${before.descriptors} descriptors, then ${after}; ${before.resident} MiB, then ${resident} MiB`)
  assert.equal(after, before.descriptors)
  assert(resident < before.resident + 80, `${before.resident} MiB became ${resident} MiB`)
})

async function descriptors(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length
}

async function residentMiB(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) >> 10
}
