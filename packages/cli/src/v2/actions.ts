import { join } from 'node:path'
import { notice, type Output } from '../output.ts'
import { showProgress } from '../progress.ts'
import * as v2 from './client.ts'
import { identityPath, loadIdentity } from './identity.ts'
import { tellListed, tellPublicKey, tellReading, tellRegistered, tellSent } from './telling.ts'

/** A client and where its results go. */
export interface Session {
  readonly client: v2.Client
  readonly output: Output
}

/** The original's client writes `me.info` for everybody to read. */
export async function warnIfExposed({ client, output }: Session): Promise<void> {
  const identity = await loadIdentity(client.dir)
  if (!identity?.exposed) return
  const path = identityPath(client.dir)
  await notice(output, 'exposed', `other users of this machine can read the private key in ${path}: chmod 600`)
}

export async function register({ client, output }: Session, name: string): Promise<void> {
  await tellRegistered(output, await v2.register(client, name))
}

export async function people({ client, output }: Session): Promise<void> {
  const listed = await v2.people(client)
  for (const person of listed) await tellListed(output, person)
  if (listed.length === 0 && !output.json) await notice(output, 'nobody', 'nobody else is registered')
}

export async function key({ client, output }: Session, who: string): Promise<void> {
  const person = await v2.publicKey(client, who)
  await tellPublicKey(output, person, person.publicKey)
}

export async function ask({ client, output }: Session, who: string): Promise<void> {
  await tellSent(output, await v2.askForKey(client, who))
}

export async function give({ client, output }: Session, who: string): Promise<void> {
  await tellSent(output, await v2.giveKey(client, who))
}

export async function send({ client, output }: Session, who: string, text: string): Promise<void> {
  await tellSent(output, await v2.sendText(client, who, text))
}

export async function file({ client, output }: Session, who: string, path: string): Promise<void> {
  using progress = showProgress(output, 'sending')
  await tellSent(output, await v2.sendFile(client, who, path, progress.onProgress))
}

/** From this size on, taking in what waits shows its progress. */
const worthShowing = 1_000_000

/** Shows everything that waits. Resolves with how many messages could not be opened. */
export async function read({ client, output }: Session, save = join(client.dir, 'received')): Promise<number> {
  const unopened = new Set<string>()
  let shown = 0
  using progress = showProgress(output, 'receiving')
  const readings = v2.read(client, {
    save,
    onProgress: (done, total) => total >= worthShowing && progress.onProgress(done, total),
    onNamesUnknown: ({ message }) => notice(output, 'names-unknown', `the senders' names are unknown: ${message}`),
  })
  for await (const reading of readings) {
    await tellReading(output, reading)
    const mark = `${v2.idText(reading.from.id)} ${reading.id}`
    if (reading.kind === 'unreadable') unopened.add(mark)
    else unopened.delete(mark)
    shown += 1
  }
  if (shown === 0 && !output.json) await notice(output, 'nothing', 'nothing is waiting')
  return unopened.size
}
