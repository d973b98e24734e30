import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { encode } from '@messageu/protocol'
import { Listed, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { Directory } from '../../src/storage/directory.ts'
import type { Client } from '../../src/storage.ts'
import { newId } from '../world.ts'

function clientWith(number: number): Client {
  const publicKey = randomBytes(160) as Uint8Array as PublicKey
  return { number, login: newId(), id: newId(), name: nameFromText(`client ${number}`), publicKey }
}

suite('directory', () => {
  test('everybody is found, and listed for everybody else, over several blocks', () => {
    const directory = new Directory()
    const clients = Array.from({ length: 3100 }, (_, i) => clientWith(1 + i * 3)) // numbers may have gaps
    for (const client of clients) {
      assert(directory.claimName(client.name))
      directory.add(client)
    }
    assert.equal(directory.count, clients.length)
    for (const client of clients) {
      assert.equal(directory.byLogin(client.login), client)
      assert.equal(directory.byId(client.id), client)
    }
    const lines = clients.map(({ id, name }) => encode(Listed, { client: id, name }))
    for (const place of [0, 1, 1022, 1023, 1024, 2047, 2048, 3099]) {
      const expected = Buffer.concat(lines.filter((_, i) => i !== place))
      assert(Buffer.concat(directory.listing(clients[place] as Client)).equals(expected), `without ${place}`)
    }
    assert(Buffer.concat(directory.listing(clientWith(2))).equals(Buffer.concat(lines)), 'a stranger sees everybody')
  })

  test('a name that was claimed is in use until it is released', () => {
    const directory = new Directory()
    const name = nameFromText('alice')
    assert(directory.claimName(name))
    assert(!directory.claimName(nameFromText('alice')))
    assert.equal(directory.claims, 1)
    directory.releaseName(name)
    assert(directory.claimName(nameFromText('alice')))
  })
})
