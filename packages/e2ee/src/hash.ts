import type { Sha256 } from '@messageu/protocol/v3'
import { primitives } from '#primitives'

export const sha256: Sha256 = (bytes) => primitives.hash('sha256', bytes)
