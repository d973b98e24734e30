import { type AccountId, type ClaimedPackage, type DeviceId, type KeyPackage, toBase64url } from '@messageu/protocol/v3'

/** The key packages of every device, as long as they are good. Protocol 3 §5.4 */
export class Shelf {
  readonly #nowMs: () => number
  readonly #kept = new Map<string, KeyPackage[]>()
  readonly #claims = new Map<string, number>()

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  publish(device: DeviceId, packages: readonly KeyPackage[]): { singleUse: number; hasLastResort: boolean } {
    const kept = this.of(device)
    for (const each of packages) {
      if (each.isLastResort) kept.splice(0, kept.length, ...kept.filter(({ isLastResort }) => !isLastResort))
      kept.push(each)
    }
    return this.count(device)
  }

  count(device: DeviceId): { singleUse: number; hasLastResort: boolean } {
    const kept = this.of(device)
    const singleUse = kept.filter(({ isLastResort }) => !isLastResort).length
    return { singleUse, hasLastResort: singleUse < kept.length }
  }

  claim(devices: readonly DeviceId[]): ClaimedPackage[] {
    return devices.flatMap((device) => {
      const kept = this.of(device)
      const at = kept.findIndex(({ isLastResort }) => !isLastResort)
      const [taken] = at === -1 ? kept.slice(0, 1) : kept.splice(at, 1)
      return taken === undefined ? [] : [{ device, isLastResort: taken.isLastResort, keyPackage: taken.keyPackage }]
    })
  }

  /** What brings back the last resorts of now, and nothing that is used once. */
  copy(): () => void {
    const lastResorts = [...this.#kept].map(
      ([device, kept]) => [device, kept.filter(({ isLastResort }) => isLastResort)] as const,
    )
    return () => {
      this.#kept.clear()
      for (const [device, kept] of lastResorts) this.#kept.set(device, [...kept])
    }
  }

  /** How often the packages of an account were claimed. */
  claimsOf(account: AccountId): number {
    return this.#claims.get(toBase64url(account)) ?? 0
  }

  countClaim(account: AccountId): void {
    this.#claims.set(toBase64url(account), this.claimsOf(account) + 1)
  }

  of(device: DeviceId): KeyPackage[] {
    const name = toBase64url(device)
    const kept = this.#kept.get(name) ?? []
    kept.splice(0, kept.length, ...kept.filter(({ notAfter }) => notAfter > this.#nowMs()))
    this.#kept.set(name, kept)
    return kept
  }
}
