import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { ConversationId } from '@messageu/protocol/v3'
import { Side, type Stage } from './side.ts'

const secret = 'Meet me where the river bends.'
const later = 'The map is under the third stone.'

/** Two people with two devices each, as each of the four sees it. */
export async function version3({ folder, say, ...stage }: Stage & Place): Promise<void> {
  await say(
    '\n── Version 3 ──\n\nTwo people, and a second device of each: two codes are carried from one to the other.',
  )
  await using sides = new AsyncDisposableStack()
  const [alice, bob] = await Promise.all([Side.first('alice', 'alice', stage), Side.first('bob', 'bob', stage)])
  sides.use(alice)
  sides.use(bob)
  await bob.client.judge('alice', 'accept', { signal: bob.signal })
  const [alicePhone, bobPhone] = await Promise.all([
    Side.linked('alice/phone', alice, stage),
    Side.linked('bob/phone', bob, stage),
  ])
  sides.use(alicePhone)
  sides.use(bobPhone)

  await say('\nAlice writes to Bob: both of his devices have it, and so has her other one. The server has not.')
  await alice.says('bob', secret)
  await Promise.all([bob, bobPhone, alicePhone].map((side) => side.sees(secret)))
  await say(`\nThe text in the server's folder: ${(await isIn(secret, folder)) ? 'FOUND' : 'not found'}.`)

  await say('\nThey compare safety numbers, by another way than this server.')
  const [hers, his] = [await number(alice, 'bob'), await number(bob, 'alice')]
  await say(`The numbers ${hers === his ? 'match' : 'DIFFER'}: nobody stands between them.`)

  await say('\nA group of everybody.')
  const { conversation } = await alice.client.createGroup('river', ['bob'], { signal: alice.signal })
  await alice.says('#river', 'Who brings the map?')
  await Promise.all([bob, bobPhone, alicePhone].map((side) => side.sees('Who brings the map?')))

  await say('\nBob has lost his phone, and takes it off his account. What is said from now on is not for it.')
  const { device } = bobPhone.client.account.identity
  await bob.client.dropDevice(device, { signal: bob.signal })
  await alice.says('#river', later)
  await Promise.all([bob, alicePhone].map((side) => side.sees(later)))
  await until(bobPhone, async () => bobPhone.client.session.phase.phase === 'ended')
  await bobPhone.show(bobPhone.hasSeen(later) ? 'READS IT' : '(its session was ended; it reads nothing)')

  await say("\nA member's device submits a change that nobody can apply. Whoever is stuck finds the way back.")
  await poison(bob, conversation, [alice, alicePhone, bob])
  await Promise.all([alice, alicePhone, bob].map((side) => side.sees('cannot be applied')))
  await until(alice, async () => (await alice.client.conversation('#river')).standing === 'active')
  await alice.says('#river', 'We are back.')
  await Promise.all([bob, alicePhone].map((side) => side.sees('We are back.')))
}

interface Place {
  readonly folder: string
  readonly say: (line: string) => Promise<void>
}

/** The safety number as one side sees it. */
async function number(side: Side, name: string): Promise<string> {
  const { digits } = await side.client.safetyWith(name, { signal: side.signal })
  await side.show((digits.match(/\d{5}/g) ?? []).join(' '))
  return digits
}

/** A commit in the right place, with nothing in it. The server cannot tell: it does not read commits. */
async function poison(by: Side, conversation: ConversationId, there: readonly Side[]): Promise<void> {
  const { session } = by.client
  const { signal } = by
  const { generation, epoch } = await session.request('read-state', { conversation }, { signal })
  const nothing = new Uint8Array([0])
  const roster = there.map(({ client }) => client.account.identity.device)
  const request = {
    conversation,
    generation,
    epoch,
    commit: nothing,
    roster,
    welcomes: [],
    groupInfo: nothing,
    tree: nothing,
  }
  const { outcome } = await session.submitSealed({ operation: 'commit', request }, { signal })
  const { kind } = await outcome
  await by.show(`(has submitted nonsense: ${kind})`)
}

/** Looks again and again. */
async function until({ signal }: Side, holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) {
    signal.throwIfAborted()
    await wait(50, undefined, { signal })
  }
}

async function isIn(text: string, folder: string): Promise<boolean> {
  const entries = await readdir(path.join(folder, 'server'), { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  const contents = await Promise.all(files.map((file) => readFile(file)))
  return contents.some((content) => content.includes(text))
}
