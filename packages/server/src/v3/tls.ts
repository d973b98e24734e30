import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { createSecureContext } from 'node:tls'
import { type Certificate, type CertificateWish, issueCertificate } from './certificate.ts'

/** Certificate files that cannot be served, and why. */
export class BadCertificate extends Error {
  override readonly name = 'BadCertificate'
}

export interface CertificateFiles {
  readonly certificate: string
  readonly key: string
}

/** Reads and checks what the operator has: a chain and a key that belong together and may be used now. */
export async function loadCertificate({ certificate, key }: CertificateFiles, now: Date): Promise<Certificate> {
  const chain = await contentOf(certificate)
  const privateKey = await contentOf(key)
  const leaf = reading(certificate, () => new X509Certificate(chain))
  const own = reading(key, () => createPrivateKey(privateKey))
  if (!leaf.checkPrivateKey(own)) throw new BadCertificate(`${key} is not the key of ${certificate}`)
  const notAfter = new Date(leaf.validTo)
  if (notAfter <= now) throw new BadCertificate(`${certificate} has ended at ${notAfter.toISOString()}`)
  const notBefore = new Date(leaf.validFrom)
  if (notBefore > now) throw new BadCertificate(`${certificate} begins at ${notBefore.toISOString()}`)
  reading(certificate, () => createSecureContext({ cert: chain, key: privateKey }))
  return { chain, privateKey, notAfter }
}

/** A certificate that is replaced while the server runs: by a newer one of ours, or by the files' present content. */
export class CertificateSource {
  readonly #next: () => Promise<Certificate>
  #present: Certificate

  private constructor(next: () => Promise<Certificate>, present: Certificate) {
    this.#next = next
    this.#present = present
  }

  static async issued(wish: Omit<CertificateWish, 'now'>, now: () => Date): Promise<CertificateSource> {
    const next = async (): Promise<Certificate> => issueCertificate({ ...wish, now: now() })
    return new CertificateSource(next, await next())
  }

  /** Throws `BadCertificate`. */
  static async ofFiles(files: CertificateFiles, now: () => Date): Promise<CertificateSource> {
    const next = (): Promise<Certificate> => loadCertificate(files, now())
    return new CertificateSource(next, await next())
  }

  get present(): Certificate {
    return this.#present
  }

  /** The next one. Throws `BadCertificate`, and keeps the one there is. */
  async renew(): Promise<Certificate> {
    this.#present = await this.#next()
    return this.#present
  }
}

/** Under which names and addresses a server on `host` may be dialled, the operator's own first. */
export function hostsOf(host: string, linkHost: string | undefined): string[] {
  const isAny = host === '0.0.0.0' || host === '::'
  const addresses = Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address))
  const own = isAny ? addresses.filter((address) => !address.startsWith('fe80:')) : [host]
  return [...new Set([...(linkHost === undefined ? [] : [linkHost]), ...own, 'localhost', '127.0.0.1', '::1'])]
}

async function contentOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new BadCertificate(`${file} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

function reading<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new BadCertificate(`${file} cannot be used: ${(error as Error).message}`, { cause: error })
  }
}
