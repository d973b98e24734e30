import { named, u16 } from '@messageu/protocol'
import { limits } from '@messageu/protocol/v3'

/** What wrote a state. Another engine or version does not read it: the conversation is created anew instead. */
export const engine = 'ts-mls 1.6.4'

/** The numbers of the suites as states and key packages name them; 83 is the engine's own (private) number. */
const suiteNumbers = { x25519: 1, 'x-wing': 83 } as const
export type Suite = keyof typeof suiteNumbers
export const Suite = named(u16, suiteNumbers)

/** Devices that a conversation of this suite may have: X-Wing costs eight times the bytes. Protocol 3 §11. */
export const devicesMax: Readonly<Record<Suite, number>> = { x25519: limits.devicesPerConversationMax, 'x-wing': 100 }
