import { formatLink, type Invite, type Link } from '@messageu/protocol/v3'
import { type Config, isExposed } from '../config.ts'
import { type FreeSpace, freeSpaceOf } from '../disk.ts'
import type { Logger } from '../log.ts'
import { v3Log } from '../loglines.ts'
import type { Storage } from '../storage.ts'
import { isLoopback } from '../v2/loopback.ts'
import { NoAdminSocket, serveAdminSocket } from './admin-socket.ts'
import { routesTo } from './dispatch.ts'
import { Readiness } from './health.ts'
import { openIdentity, type ServerIdentity } from './identity.ts'
import { dialledAt } from './link.ts'
import { listenV3, type V3Listener } from './listener.ts'
import { OpenSessions } from './open-sessions.ts'
import { openRules, type Rules } from './rules.ts'
import type { Clock, Policy, Random, Services } from './services.ts'
import { CertificateSource, hostsOf } from './tls.ts'
import type { Schedule } from './trimming.ts'

export interface V3StartOptions {
  readonly config: Config
  readonly storage: Storage
  readonly log: Logger
  readonly clock: Clock
  readonly schedule: Schedule
  readonly random: Random
  readonly connectionsMax: number
  readonly version: string
}

export interface RunningV3 {
  readonly address: { readonly host: string; readonly port: number }
  /** Where the server is and who it is. */
  readonly link: string
  /** Makes the first person an administrator. As long as there is nobody on a server where people may register. */
  readonly adminInvite: string | undefined
  readonly metrics: { readonly host: string; readonly port: number } | undefined
  /** Reads the certificate files again. */
  reload(): Promise<void>
  stop(graceMs: number): Promise<void>
  /** Ends every connection at once. */
  endAll(): void
}

/** A certificate of our own is replaced this long before its end. */
const renewBeforeMs = 30 * 86_400_000
const renewalCheckMs = 3_600_000

/** Starts version 3 on a storage. Rejects with `BadCertificate`, or the system's error for a port that cannot be had. */
export async function startV3(options: V3StartOptions): Promise<RunningV3> {
  const { config, storage, log, clock, schedule, random } = options
  await using started = new AsyncDisposableStack()
  const identity = await openIdentity(storage.archive, random)
  const sessions = new OpenSessions()
  // behind a proxy that does not say for whom it asks, everybody would seem to be this machine
  const isLocal = config['behind-proxy'] ? () => false : isLoopback
  const rules = started.use(
    await openRules({
      archive: storage.archive,
      sessions,
      clock,
      schedule,
      random,
      policy: policyOf(config),
      serverKey: identity.publicKey,
      failed: (operation, error) => v3Log(log).failed({ operation, error }),
      isLocal,
    }),
  )
  const { services, handlers } = rules
  const certificates = await certificatesFor(config, identity, options)
  const readiness = new Readiness(storage.archive, () => clock.monotonicMs())
  const listener = await listenV3({
    host: config.host,
    port: config.port,
    services,
    sessions,
    archive: storage.archive,
    identity,
    routes: routesTo(handlers),
    certificate: certificates?.present,
    isBehindProxy: config['behind-proxy'],
    isLocal,
    isReady: () => readiness.isReady(),
    log: v3Log(log),
    limits: {
      connectionsMax: options.connectionsMax,
      deviceRate: { perSecond: config['requests-per-second'], burst: 2 * config['requests-per-second'] },
    },
  })
  started.use(listener)
  const place = dialledAt(config, listener.address)
  const linkWith = (invite: Invite | undefined): string =>
    formatLink({ ...place, serverKey: identity.publicKey, invite } satisfies Link)

  const metrics = await startMetrics(options, { listener, services, readiness, certificates })
  if (metrics !== undefined) started.use(metrics)
  const admin = await startAdmin(options, { listener, rules, linkWith })
  if (admin !== undefined) started.use(admin)
  const renewal = renewing(certificates, listener, options)
  started.defer(() => clearInterval(renewal))

  const adminInvite = await firstInvite(services)
  const running = started.move()
  return {
    address: listener.address,
    link: linkWith(undefined),
    adminInvite: adminInvite === undefined ? undefined : linkWith(adminInvite),
    metrics: metrics === undefined ? undefined : { host: '127.0.0.1', port: metrics.port },
    reload: () => reload(certificates, listener, options),
    async stop(graceMs) {
      await listener.stop(graceMs)
      await running.disposeAsync()
    },
    endAll: () => listener.endAll(),
  }
}

function policyOf(config: Config): Policy {
  const exposed = isExposed(config)
  return {
    registration: config.registration ?? (exposed ? 'invite' : 'open'),
    directory: config.directory ?? !exposed,
    quotaBytes: config.quota,
  }
}

/** A certificate from files, or one of our own where other machines reach us; none on loopback and behind a proxy. */
async function certificatesFor(
  config: Config,
  identity: ServerIdentity,
  { clock, random }: V3StartOptions,
): Promise<CertificateSource | undefined> {
  const now = (): Date => new Date(clock.nowMs())
  const { 'tls-cert': certificate, 'tls-key': key } = config
  if (certificate !== undefined && key !== undefined) return CertificateSource.ofFiles({ certificate, key }, now)
  if (config['behind-proxy'] || !isExposed(config)) return undefined
  const named = config['link-host'] === undefined ? undefined : dialledAt(config, { host: '', port: 0 }).host
  return CertificateSource.issued({ issuerKey: identity.privateKey, hosts: hostsOf(config.host, named), random }, now)
}

/** As long as nobody has an account, and somebody may: whoever comes by this invite administers the server. */
async function firstInvite({ policy, directory }: Services): Promise<Invite | undefined> {
  if (policy.registration === 'closed') return undefined
  const [anybody] = await directory.accountsAfter(undefined, 1)
  if (anybody !== undefined) return undefined
  const { invite } = await directory.invite({ isAdmin: true })
  return invite
}

interface Parts {
  readonly listener: V3Listener
  readonly services: Services
}

async function startMetrics(
  { config, storage, version }: V3StartOptions,
  {
    listener,
    services,
    readiness,
    certificates,
  }: Parts & { readiness: Readiness; certificates: CertificateSource | undefined },
) {
  const port = config['metrics-port']
  if (port === undefined) return undefined
  const { metricsOf, serveMetrics } = await import('./metrics.ts') // most servers do without, and start faster
  const register = metricsOf({
    version,
    figures: listener.figures,
    connections: () => listener.connections,
    sessions: () => services.sessions.count,
    storage: () => storage.figures(),
    async lastWriteMs() {
      await readiness.isReady()
      return readiness.lastWriteMs
    },
    freeSpace: (): Promise<FreeSpace> => freeSpaceOf(config.data),
    certificateNotAfter: () => certificates?.present.notAfter,
  })
  return serveMetrics(register, port)
}

async function startAdmin(
  { config, storage, log }: V3StartOptions,
  { listener, rules, linkWith }: { listener: V3Listener; rules: Rules; linkWith: (invite: Invite) => string },
): Promise<AsyncDisposable | undefined> {
  const { directory, conversations, sessions } = rules.services
  const stats = (): Record<string, number> => ({
    accounts: rules.accounts(),
    connections: listener.connections,
    sessions: sessions.count,
    acceptedMessages: listener.figures.acceptedMessages,
    deliveredMessages: listener.figures.deliveredMessages,
    v2Clients: storage.figures().clients,
    waitingMessages: storage.figures().waitingMessages,
    damagedMessages: storage.figures().damagedMessages,
  })
  try {
    return await serveAdminSocket(config.data, { directory, conversations, linkWith, stats }, (error) =>
      v3Log(log).failed({ operation: 'admin', error }),
    )
  } catch (error) {
    if (!(error instanceof NoAdminSocket)) throw error
    log.warn({ event: 'no-admin-socket', why: error.message }, 'messageu admin cannot reach this server')
    return undefined
  }
}

/** Looks every hour whether the certificate ends soon. */
function renewing(certificates: CertificateSource | undefined, listener: V3Listener, options: V3StartOptions) {
  const timer = setInterval(() => {
    if (certificates === undefined) return
    if (certificates.present.notAfter.getTime() - options.clock.nowMs() < renewBeforeMs)
      void reload(certificates, listener, options)
  }, renewalCheckMs)
  timer.unref()
  return timer
}

async function reload(
  certificates: CertificateSource | undefined,
  listener: V3Listener,
  { log }: V3StartOptions,
): Promise<void> {
  if (certificates === undefined) return
  try {
    const certificate = await certificates.renew()
    listener.useCertificate(certificate)
    log.info({ event: 'certificate-renewed', notAfter: certificate.notAfter.toISOString() }, 'new certificate in use')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    log.error({ event: 'certificate-kept', why }, 'the new certificate cannot be used: the old one stays')
  }
}
