import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { type ClientId, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { ClientsById } from '../../src/storage/clientsbyid.ts'
import type { Client } from '../../src/storage.ts'

const publicKey = randomBytes(160) as Uint8Array as PublicKey

function clientWith(id: Uint8Array): Client {
  return { number: 1, login: id as ClientId, id: id as ClientId, name: nameFromText('alice'), publicKey }
}

/** Ids that differ only where nobody looks at first. */
const neighbours = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) =>
    Uint8Array.from({ length: 16 }, (_, at) => (at < 4 ? 255 : (i >> (at - 4)) & 1)),
  )

for (const { of, ids } of [
  { of: 'random ids', ids: Array.from({ length: 5000 }, () => new Uint8Array(randomBytes(16))) },
  { of: 'ids that fall together', ids: neighbours(600) },
])
  test(`whoever was added is found, and nobody else: ${of}`, () => {
    const clients = new ClientsById(({ id }) => id)
    const added = ids.filter((_, i) => i % 2 === 0).map(clientWith)
    for (const [i, client] of added.entries()) {
      assert.equal(clients.find(client.id), undefined)
      clients.add(client)
      assert.equal(clients.find(Uint8Array.from((added[i >> 1] as Client).id)), added[i >> 1])
    }
    for (const [i, id] of ids.entries()) assert.equal(clients.find(id), i % 2 === 0 ? added[i / 2] : undefined)
  })
