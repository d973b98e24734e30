import type { ClientState, GenerationSecret, SecretTree } from 'ts-mls'
import type { Member } from './members.ts'
import type { Ratchet, Ratchets } from './ratchets.ts'

// Between the message keys that are kept and the engine's secret tree.

/** The ratchets of an epoch that has just begun. */
export function ratchetsOf({ groupContext, secretTree }: ClientState, members: readonly Member[]): Ratchets {
  return { epoch: Number(groupContext.epoch), senders: members.map(({ leaf }) => ratchetAt(secretTree, leaf)) }
}

/** As much of the engine's secret tree as one message needs. */
export function secretTreeOf({ leaf, generation, secret, skipped }: Ratchet): SecretTree {
  const unusedGenerations = Object.fromEntries(skipped.map((each) => [each.generation, each.secret]))
  const tree: SecretTree = []
  tree[2 * leaf] = { application: { secret, generation, unusedGenerations }, handshake: unused }
  return tree
}

export function ratchetAt(tree: SecretTree, leaf: number): Ratchet {
  const node = tree[2 * leaf]
  if (node === undefined) throw new Error('the engine has no ratchet for a member')
  const { secret, generation, unusedGenerations } = node.application
  const skipped = Object.entries(unusedGenerations).map(([number, secret]) => ({ generation: Number(number), secret }))
  return { leaf, generation, secret, skipped }
}

const unused: GenerationSecret = { secret: new Uint8Array(), generation: 0, unusedGenerations: {} }
