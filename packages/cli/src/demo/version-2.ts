import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Writable } from 'node:stream'
import { openLog, readConfig, startServer } from '@messageu/server'
import { type Output, write } from './output.ts'
import { size } from './progress.ts'
import * as actions from './v2/actions.ts'
import { openClient, sendFile } from './v2/client.ts'
import { tellSent } from './v2/telling.ts'

const fileBytes = 900_000
const text = 'Meet me where the river bends. Bring the map.'

/** Two people on a server of their own, in a temporary folder: everything that version 2 does, as each side sees it. */
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
  const config = readConfig({ flags, environment: {}, workingFolder: folder })
  const server = await startServer(config, openLog('error'))
  try {
    await say(
      `A server listens on ${server.v2.host}:${server.v2.port}; all of this is in ${folder} and gone at the end.\n`,
    )
    const alice = person('alice', out, folder, server.v2)
    const bob = person('bob', out, folder, server.v2)

    await say('Two people register; each makes a key pair, and the server learns the public half.')
    await actions.register(alice, 'alice')
    await actions.register(bob, 'bob')
    await actions.people(alice)

    await say('\nAlice asks Bob for a key. He gives her one, encrypted under her public key.')
    await actions.ask(alice, 'bob')
    await actions.read(bob)
    await actions.give(bob, 'alice')
    await actions.read(alice)

    await say('\nA text, then a file. The server sees neither.')
    await actions.send(alice, 'bob', text)
    const picture = path.join(folder, 'map.bin')
    await writeFile(picture, Buffer.alloc(fileBytes, 'the map, again and again. '))
    await tellSent(alice.output, await sendFile(alice.client, 'bob', picture))
    await actions.read(bob, path.join(folder, 'received'))
    const stored = await readFile(path.join(folder, 'server', 'server.db'))
    await say(`\nThe text in the server's database: ${stored.includes(text) ? 'FOUND' : 'not found'}.`)
    await say(
      `The file that was sent: ${size(fileBytes)}, SHA-256 ${createHash('sha256')
        .update(await readFile(picture))
        .digest('hex')}`,
    )
    await say('\nNow yours: npm start, and see README.md.')
  } finally {
    await server.stop(1000)
    await rm(folder, { recursive: true, force: true })
  }
}

/** A session whose every line says whose screen it is. */
function person(name: string, out: Writable, folder: string, server: { host: string; port: number }): actions.Session {
  const screen = prefixed(out, `${name.padStart(7)} │ `)
  const output: Output = { json: false, out: screen, err: screen }
  const dir = path.join(folder, name)
  return { client: openClient({ dir, server, signal: new AbortController().signal }), output }
}

function prefixed(out: Writable, prefix: string): Writable {
  return new Writable({
    write(chunk: Buffer, _, done) {
      const lines = chunk.toString().replace(/\n$/, '').split('\n')
      out.write(lines.map((line) => `${prefix}${line}\n`).join(''), done)
    },
  })
}
