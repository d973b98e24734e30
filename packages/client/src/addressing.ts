import type { Link } from '@messageu/protocol/v3'
import { socketPath } from './transport.ts'

/**
 * Whether a server is dialled with TLS. The link decides, and nothing that comes over the network: `auto` is plain on
 * this very machine, where there is nobody in between, and TLS everywhere else. There is no falling back from TLS.
 */
export type Security = 'auto' | 'tls' | 'plain'

export function usesTls({ host }: Pick<Link, 'host'>, security: Security): boolean {
  return security === 'tls' || (security === 'auto' && !isLoopback(host))
}

/** A name or an address that never leaves this machine (RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3). */
export function isLoopback(host: string): boolean {
  const parts = host.replace(/^::ffff:/, '').split('.')
  const isIpv4 = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)
  return host === 'localhost' || host === '::1' || (isIpv4 && parts[0] === '127')
}

export function socketUrl(link: Link, security: Security): string {
  const name = link.host.includes(':') ? `[${link.host}]` : link.host
  return `${usesTls(link, security) ? 'wss' : 'ws'}://${name}:${link.port}${socketPath}`
}
