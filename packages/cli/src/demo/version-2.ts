import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Writable } from 'node:stream'
import type { Output } from '../output.ts'
import { size } from '../progress.ts'
import * as actions from '../v2/actions.ts'
import { openClient, sendFile } from '../v2/client.ts'
import { tellSent } from '../v2/telling.ts'
import { screenOf } from './screen.ts'

const fileBytes = 900_000
const text = 'Meet me where the river bends. Bring the map.'

/** Two people with a key between them, as each side sees it. */
export async function version2({ address, folder, out, say }: Stage): Promise<void> {
  const alice = person('alice', out, folder, address)
  const bob = person('bob', out, folder, address)

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
  const sent = createHash('sha256').update(await readFile(picture))
  await say(`The file that was sent: ${size(fileBytes)}, SHA-256 ${sent.digest('hex')}`)
}

interface Stage {
  readonly address: { host: string; port: number }
  readonly folder: string
  readonly out: Writable
  readonly say: (line: string) => Promise<void>
}

/** A session whose every line says whose screen it is. */
function person(name: string, out: Writable, folder: string, server: { host: string; port: number }): actions.Session {
  const screen = screenOf(name, out)
  const output: Output = { json: false, out: screen, err: screen }
  const dir = path.join(folder, 'v2', name)
  return { client: openClient({ dir, server, signal: new AbortController().signal }), output }
}
