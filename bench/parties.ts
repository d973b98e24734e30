import type { ClientId } from '@messageu/protocol/v2'
import type { tasks as bareTasks } from './bare-child.ts'
import type { Child } from './children.ts'
import type { tasks as loadTasks } from './load-child.ts'
import type { tasks as serverTasks } from './server-child.ts'

/** The processes of a measurement over the network: our server, the limit beside it, and who asks both. */
export type Server = Child<typeof serverTasks>
export type Bare = Child<typeof bareTasks>
export type Load = Child<typeof loadTasks>

/** Ids and requests travel to the other processes as text. */
export const idOf = (hex: string): ClientId => Buffer.from(hex, 'hex') as Uint8Array as ClientId
export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
