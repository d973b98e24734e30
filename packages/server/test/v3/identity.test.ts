import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { suite, test } from 'node:test'
import { utf8Encode } from '@messageu/protocol'
import { DamagedStorage } from '../../src/storage/damage.ts'
import { MemoryArchive } from '../../src/storage/memoryarchive.ts'
import { keyObject, openIdentity } from '../../src/v3/identity.ts'
import { random } from './listening.ts'

const newArchive = (): MemoryArchive => new MemoryArchive({ nowMs: Date.now })
const keep = (archive: MemoryArchive, name: string, value: Uint8Array | undefined) =>
  archive.step({ objects: [{ kind: 'server', key: utf8Encode(name), value }] })

suite('the identity of a server', () => {
  test('is made at the first start, and stays', async () => {
    const archive = newArchive()
    const first = await openIdentity(archive, random)
    const second = await openIdentity(archive, random)
    assert.deepEqual(first.publicKey, second.publicKey)
    assert.deepEqual(first.incarnation, second.incarnation)
    assert(createPublicKey(first.privateKey).equals(createPublicKey(second.privateKey)))
    const other = await openIdentity(newArchive(), random)
    assert.notDeepEqual(first.publicKey, other.publicKey)
    assert.notDeepEqual(first.incarnation, other.incarnation)
  })

  test('is an Ed25519 key, of which the link has the 32 bytes', async () => {
    const { privateKey, publicKey } = await openIdentity(newArchive(), random)
    assert.equal(publicKey.length, 32)
    const message = random(10)
    assert(verify(null, message, keyObject(publicKey), sign(null, message, privateKey)))
  })

  test('U05 keeps its key and begins another life after a restore', async () => {
    const archive = newArchive()
    const before = await openIdentity(archive, random)
    await keep(archive, 'incarnation', undefined) // as `admin restore` leaves it
    const after = await openIdentity(archive, random)
    assert.deepEqual(after.publicKey, before.publicKey)
    assert.notDeepEqual(after.incarnation, before.incarnation)
    assert.equal(after.incarnation.length, 16)
  })

  test('K06 that cannot be read stops the start, and nothing is replaced', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ format: 'der', type: 'pkcs8' })
    const damages: [string, Uint8Array][] = [
      ['key', random(48)],
      ['key', rsa],
      ['incarnation', random(15)],
    ]
    for (const [name, value] of damages) {
      const archive = newArchive()
      await openIdentity(archive, random)
      await keep(archive, name, value)
      await assert.rejects(openIdentity(archive, random), DamagedStorage)
      assert.deepEqual(Buffer.from((await archive.get('server', utf8Encode(name))) ?? []), Buffer.from(value))
    }
  })
})
