import { partsOf } from '../conversations.ts'
import { readTree as treeOf } from '../reading.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.7. */
export const readTree: Handler<'read-tree'> = async (services, session, request) => ({
  tree: await treeOf(partsOf(services), session.device, request),
})
