import { bytes, decode, encode, fixed, list, struct, u64 } from '@messageu/protocol'
import { type Hash, limits } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { boxOf } from './boxes.ts'
import { handshakeKey } from './conversationkeys.ts'
import { numberKey } from './numbers.ts'

/** The tree of a commit that has brought devices in, for those of them whose Welcome still waits. */
const Kept = struct({
  sequence: u64,
  hash: fixed<Hash>(32),
  devices: list(u64, { max: limits.devicesPerConversationMax }),
  tree: bytes({ max: limits.handshakeBytesMax }),
})

/** What is known of one without reading it. */
export interface WelcomeTree {
  readonly key: Uint8Array
  /** Of its commit. */
  readonly sequence: number
  readonly hash: Hash
  readonly devices: readonly number[]
  readonly bytes: number
}

/** Whose trees they are. */
interface Owner {
  readonly number: number
  readonly durableSequence: number
  readonly state: { welcomeTrees: readonly WelcomeTree[] | undefined }
}

/** Of so many commits at most; whoever came by an older one rejoins. */
const treesMax = 64

/** Reads which there are, the oldest first, for a state that was read itself, or has them from one that was. */
export async function learnWelcomeTrees(archive: Pick<Archive, 'scan'>, { number, state }: Owner): Promise<void> {
  const prefix = handshakeKey(number, 'welcome-tree')
  const found = await archive.scan('handshake', { prefix, limit: treesMax })
  state.welcomeTrees ??= found.map(({ key, value }) => {
    const { tree, ...kept } = decode(Kept, value)
    return { ...kept, key, bytes: tree.length }
  })
}

/** One of them, as long as it is on disk; of those that wait for a device, if one is named. */
export async function welcomeTree(
  archive: Pick<Archive, 'get' | 'scan'>,
  conversation: Owner,
  hash: Hash,
  only?: { readonly for: number },
): Promise<Uint8Array | undefined> {
  if (conversation.state.welcomeTrees === undefined) await learnWelcomeTrees(archive, conversation)
  const known = conversation.state.welcomeTrees?.find(
    (each) => Buffer.compare(each.hash, hash) === 0 && (only === undefined || each.devices.includes(only.for)),
  )
  const kept = known && (await archive.get('handshake', known.key))
  return kept && decode(Kept, kept).tree
}

/**
 * With one more commit: those that nobody waits for go, and the oldest where all together would be above what one may be.
 * So a member that adds devices that never come fills no disk.
 */
export function withWelcomeTree(
  archive: Pick<Archive, 'newestOf'>,
  { number, durableSequence, state: { welcomeTrees = [] } }: Owner,
  added: Pick<WelcomeTree, 'sequence' | 'hash' | 'devices'> | undefined,
  tree: Uint8Array,
): { readonly trees: readonly WelcomeTree[]; readonly objects: readonly ObjectChange[]; readonly bytes: number } {
  const waits = ({ sequence, devices }: WelcomeTree): boolean =>
    sequence > durableSequence || devices.some((device) => archive.newestOf(boxOf('welcome', device)) > 0)
  const trees: WelcomeTree[] = []
  const objects: ObjectChange[] = []
  let bytes = 0
  if (added !== undefined) {
    const key = Buffer.concat([handshakeKey(number, 'welcome-tree'), numberKey(added.sequence)])
    objects.push({ kind: 'handshake', key, value: encode(Kept, { ...added, devices: [...added.devices], tree }) })
    trees.push({ ...added, key, bytes: tree.length })
    bytes = tree.length
  }
  for (const each of welcomeTrees.toReversed()) {
    if (!waits(each) || trees.length === treesMax || bytes + each.bytes > limits.handshakeBytesMax) continue
    trees.unshift(each)
    bytes += each.bytes
  }
  objects.push(...without(welcomeTrees.filter((each) => !trees.includes(each))))
  return { trees, objects, bytes }
}

export function without(trees: readonly WelcomeTree[]): ObjectChange[] {
  return trees.map(({ key }) => ({ kind: 'handshake', key, value: undefined }))
}
