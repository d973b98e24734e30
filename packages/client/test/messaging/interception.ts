import { type Delivery, type DeviceId, toBase64url } from '@messageu/protocol/v3'
import { done } from '../fake-server.ts'
import { same } from './ledger.ts'
import type { MessagingServer } from './messaging-server.ts'

/** Keeps what goes to a device, and lets it through. */
export function recordFor(server: MessagingServer, device: DeviceId): Partial<Delivery>[] {
  const kept: Partial<Delivery>[] = []
  server.twist = (to, parts) => {
    if (same(to, device)) kept.push(parts)
    return [parts]
  }
  return kept
}

/** Keeps what goes to a device from it. */
export function holdBack(server: MessagingServer, device: DeviceId): Partial<Delivery>[] {
  const held: Partial<Delivery>[] = []
  server.twist = (to, parts) => {
    if (!same(to, device)) return [parts]
    held.push(parts)
    return []
  }
  return held
}

/** Keeps commits from a device. */
export function withholdCommits(server: MessagingServer, device: DeviceId): void {
  server.twist = (to, parts) => (same(to, device) && parts.kind === 'commit' ? [] : [parts])
}

/** Gives a device again what it was given before: as it was, and once more at places that nothing has yet. */
export function repeat(server: MessagingServer, device: DeviceId, old: readonly Partial<Delivery>[]): void {
  for (const parts of old) server.slip(device, parts)
  continueWith(server, device, old)
}

/** Gives a device something as if it came after all of that. Returns the last place that it gives. */
export function continueWith(server: MessagingServer, device: DeviceId, old: readonly Partial<Delivery>[]): number {
  const newest = new Map<string, number>()
  for (const each of old) newest.set(placeOf(each), Math.max(newest.get(placeOf(each)) ?? 0, each.sequence ?? 0))
  for (const parts of old) {
    const sequence = (newest.get(placeOf(parts)) ?? 0) + 1
    newest.set(placeOf(parts), sequence)
    server.slip(device, { ...parts, sequence })
  }
  return Math.max(...newest.values())
}

function placeOf({ conversation }: Partial<Delivery>): string {
  return conversation === undefined ? '' : toBase64url(conversation)
}

/** Alters one message on its way to a device: the next. */
export function damageNext(
  server: MessagingServer,
  device: DeviceId,
  damage: (sealed: Uint8Array) => Uint8Array,
): void {
  let isDone = false
  server.twist = (to, parts) => {
    if (isDone || !same(to, device) || parts.kind !== 'application' || parts.sealed === undefined) return [parts]
    isDone = true
    return [{ ...parts, sealed: damage(parts.sealed) }]
  }
}

/** Whoever asks for a tree is shown this one. */
export function showTree(server: MessagingServer, tree: Uint8Array): void {
  server.lie = (name) => (name === 'read-tree' ? { kind: 'answer', body: done('read-tree', { tree }) } : undefined)
}
