import { isIPv4 } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { defaultPort, type Link } from '@messageu/protocol/v3'
import type { Config } from '../config.ts'

const form = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/

/** Where clients find the server: where the operator says, else where it listens. */
export function dialledAt(
  config: Pick<Config, 'link-host' | 'behind-proxy'>,
  bound: { readonly host: string; readonly port: number },
): Pick<Link, 'host' | 'port'> {
  const [, name, port] = form.exec(config['link-host'] ?? '') ?? []
  if (name === undefined) return { host: isEverywhere(bound.host) ? ownAddress() : bound.host, port: bound.port }
  const without = config['behind-proxy'] ? defaultPort : bound.port
  return { host: name.replace(/^\[|\]$/g, ''), port: port === undefined ? without : Number(port) }
}

function isEverywhere(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** An address that other machines may know this one by; a guess where there are several. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  const outward = addresses.find(({ internal, address }) => !internal && isIPv4(address))
  return outward?.address ?? hostname()
}
