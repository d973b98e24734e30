import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Writable } from 'node:stream'
import { openLog, readConfig, startServer } from '@messageu/server'
import { write } from '../output.ts'
import { version2 } from './version-2.ts'
import { version3 } from './version-3.ts'

/** Both protocols on a server of their own, in a temporary folder, as each side sees it. */
export async function demo(out: Writable): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'messageu-demo-'))
  const say = (line: string): Promise<void> => write(out, `${line}\n`)
  const flags = {
    data: path.join(folder, 'server'),
    port: '0',
    'v2.port': '0',
    'disk-reserve': '0%',
    'log-level': 'error',
  }
  const server = await startServer(readConfig({ flags, environment: {}, workingFolder: folder }), openLog('error'))
  try {
    await say(`A server runs on free ports; all of this is in ${folder} and gone at the end.`)
    await version3({ link: server.link, folder, out, say })
    await say('\n── Version 2, as the original speaks it ──\n')
    await version2({ address: server.v2, folder, out, say })
    await say('\nNow yours: npm start, and see README.md.')
  } finally {
    await server.stop(1000)
    await rm(folder, { recursive: true, force: true })
  }
}
