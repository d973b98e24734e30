import { join } from 'node:path'
import { Failure } from '../failure.ts'
import { readOwn, startDraft } from '../private-files.ts'

/** Where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

const form = /^(?:\[(?<ipv6>[^\]\s]+)\]|(?<host>[^:\s[\]]+)):(?<port>\d{1,5})$/

/** Reads `host:port`; an IPv6 address stands in brackets. */
export function parseAddress(text: string): Address {
  const { ipv6, host = ipv6, port } = form.exec(text.trim())?.groups ?? {}
  const number = Number(port)
  if (host === undefined || !(number >= 1 && number <= 65_535))
    throw new Failure('bad-address', {
      what: `"${text.trim()}" is not the address of a server`,
      advice: 'HOST:PORT, for example 127.0.0.1:1234 or [::1]:1234',
    })
  return { host, port: number }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

const fileName = 'server.info'

/** The address in `server.info`, the original's file of one line; `undefined` where there is none. */
export async function loadAddress(dir: string): Promise<Address | undefined> {
  const file = await readOwn(join(dir, fileName), { max: 1024 })
  return file === undefined ? undefined : parseAddress(Buffer.from(file.bytes).toString('utf8'))
}

/** Writes `server.info` if there is none. */
export async function rememberAddress(dir: string, address: Address): Promise<void> {
  await using draft = await startDraft(join(dir, fileName))
  await draft.create(Buffer.from(`${formatAddress(address)}\n`))
}
