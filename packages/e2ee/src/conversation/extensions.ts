import { decode, encode } from '@messageu/protocol'
import type { Capabilities, Extension, LeafNode } from 'ts-mls'
import { engineNames } from './algorithms.ts'
import { mustHold } from './errors.ts'
import { ConversationRules, Lifetime, Standings } from './shared.ts'

/** Numbers from the range for private use (RFC 9420 §17.3), and the one that marks a key package for repeated use. */
export const extensionTypes = { rules: 0xf0c1, standings: 0xf0c2, lifetime: 0xf0c3, lastResort: 0x000a } as const

/** What every leaf of ours can do, and every leaf here has to. */
export const capabilities: Capabilities = {
  versions: ['mls10'],
  ciphersuites: [...engineNames],
  extensions: [extensionTypes.rules],
  proposals: [],
  credentials: ['basic'],
}

export function mustBeCapable({ capabilities: { versions, extensions, credentials }, extensions: extra }: LeafNode) {
  const capable =
    versions.includes('mls10') && extensions.includes(extensionTypes.rules) && credentials.includes('basic')
  mustHold(capable, 'malformed', 'a leaf cannot do what a conversation needs')
  mustHold(extra.length === 0, 'malformed', 'a leaf has extensions')
}

/** Of the group context. It has this extension and no other: external senders and the like have no place here. */
export function rulesExtension(rules: ConversationRules): Extension[] {
  return [{ extensionType: extensionTypes.rules, extensionData: encode(ConversationRules, rules) }]
}

export function readRules(groupContext: { readonly extensions: readonly Extension[] }): ConversationRules {
  return decode(ConversationRules, onlyOne(groupContext.extensions, extensionTypes.rules))
}

/** Of a GroupInfo, beside the external key where it has one. */
export function standingsExtension(standings: Standings): Extension[] {
  return [{ extensionType: extensionTypes.standings, extensionData: encode(Standings, standings) }]
}

export function readStandings(extensions: readonly Extension[], { isExternal }: { isExternal: boolean }): Standings {
  const ours = extensions.filter(({ extensionType }) => extensionType !== 'external_pub')
  mustHold(extensions.length - ours.length === (isExternal ? 1 : 0), 'malformed', 'the wrong kind of GroupInfo')
  return decode(Standings, onlyOne(ours, extensionTypes.standings))
}

/** Of a key package. The engine would hold its own lifetime against the machine's clock, so that one says nothing. */
export function packageExtensions(lifetime: Lifetime, isLastResort: boolean): Extension[] {
  const timed: Extension = { extensionType: extensionTypes.lifetime, extensionData: encode(Lifetime, lifetime) }
  return isLastResort ? [timed, { extensionType: extensionTypes.lastResort, extensionData: new Uint8Array() }] : [timed]
}

export function readPackageExtensions(extensions: readonly Extension[]): {
  lifetime: Lifetime
  isLastResort: boolean
} {
  const timed = extensions.filter(({ extensionType }) => extensionType !== extensionTypes.lastResort)
  return {
    lifetime: decode(Lifetime, onlyOne(timed, extensionTypes.lifetime)),
    isLastResort: timed.length < extensions.length,
  }
}

function onlyOne(extensions: readonly Extension[], type: number): Uint8Array {
  const [only] = extensions
  mustHold(
    only !== undefined && extensions.length === 1 && only.extensionType === type,
    'malformed',
    'extensions are missing, or there are others',
  )
  return only.extensionData
}
