import path from 'node:path'
import { BackupError, backup, examine, restore } from '@messageu/server'
import { readSize } from '@messageu/server/settings'
import { type AdminEvent, askServer } from './admin-client.ts'
import { Failure } from './failure.ts'
import { type Output, tell } from './output.ts'
import { size } from './progress.ts'
import { printable } from './terminal.ts'

/** Looks at everything in a data folder; fails if something is damaged. */
export async function doctor(folder: string, output: Output): Promise<void> {
  let damages = 0
  for await (const { kind, object, what } of examine(folder)) {
    if (kind === 'damage') damages += 1
    await tell(
      output,
      { event: 'finding', kind, object, what },
      `${kind.padEnd(8)}${printable(object)}: ${printable(what)}`,
    )
  }
  if (damages === 0) return
  throw new Failure('damaged', {
    what: `${damages} damaged ${damages === 1 ? 'object' : 'objects'} in ${folder}`,
    why: 'what is stored is not what was stored',
    advice: 'restore a backup into a new folder; the server delivers what is whole and keeps what is not',
  })
}

export async function makeBackup(folder: string, target: string, output: Output): Promise<void> {
  const startedAt = performance.now()
  const { files } = await advising(() => backup(folder, target, new Date()))
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const ms = Math.round(performance.now() - startedAt)
  await tell(
    output,
    { event: 'backup', target: path.resolve(target), files: files.length, bytes, ms },
    `${files.length} files, ${size(bytes)} in ${target}, in ${(ms / 1000).toFixed(1)} s. It holds who writes to whom: keep it as safe as the server.`,
  )
}

export async function restoreBackup(source: string, folder: string, output: Output): Promise<void> {
  const { files, createdAt } = await advising(() => restore(source, folder, new Date()))
  await tell(
    output,
    { event: 'restored', folder: path.resolve(folder), files: files.length, createdAt },
    `${folder} is as it was at ${createdAt}: start it with messageu serve --data ${folder}. What was delivered since comes again.`,
  )
}

export async function invite(folder: string, { isAdmin }: { isAdmin: boolean }, output: Output): Promise<void> {
  for await (const event of askServer(folder, { do: 'invite', isAdmin })) {
    if (event.event !== 'invite') continue
    const whom = event.isAdmin ? 'an administrator' : 'one person'
    await tell(output, event, `${event.link}\nfor ${whom}, once, until ${event.notAfter}`)
  }
}

export async function accounts(folder: string, output: Output): Promise<void> {
  await tellAccounts(askServer(folder, { do: 'accounts' }), output)
}

export async function setQuota(folder: string, name: string, quota: string, output: Output): Promise<void> {
  const bytes = readSize(quota)
  if (bytes === undefined)
    throw new Failure('usage', { what: `${quota} is no size`, advice: 'a size such as 500MiB or 2GiB' })
  await tellAccounts(askServer(folder, { do: 'quota', name, bytes }), output)
}

export async function block(
  folder: string,
  name: string,
  { isDisabled }: { isDisabled: boolean },
  output: Output,
): Promise<void> {
  await tellAccounts(askServer(folder, { do: 'block', name, isDisabled }), output)
}

export async function stats(folder: string, output: Output): Promise<void> {
  for await (const event of askServer(folder, { do: 'stats' })) {
    if (event.event !== 'stats') continue
    const lines = Object.entries(event.counts).map(([name, count]) => `${name.padEnd(20)}${count}`)
    await tell(output, event, lines.join('\n'))
  }
}

async function tellAccounts(events: AsyncIterable<AdminEvent>, output: Output): Promise<void> {
  for await (const event of events) {
    if (event.event !== 'account') continue
    const marks = [event.isAdmin ? 'administrator' : '', event.isDisabled ? 'blocked' : ''].filter(
      (mark) => mark !== '',
    )
    const devices = `${event.devices} ${event.devices === 1 ? 'device' : 'devices'}`
    const stored = `${size(event.storedBytes)} of ${size(event.quotaBytes)}`
    await tell(output, event, [printable(event.name), devices, stored, ...marks].join('  '))
  }
}

async function advising<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    throw new Failure('backup', { what: error.message, advice: 'messageu admin --help', cause: error })
  }
}
