import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect as connectPlain } from 'node:net'
import path from 'node:path'
import { suite, test } from 'node:test'
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import type { Hash } from '@messageu/protocol/v3'
import { type Certificate, certificateHash, issueCertificate } from '../../src/v3/certificate.ts'
import * as der from '../../src/v3/der.ts'
import { BadCertificate, CertificateSource, hostsOf, loadCertificate } from '../../src/v3/tls.ts'
import { temporaryFolder } from '../world.ts'
import { random, startListening, type World } from './listening.ts'

const issuer = generateKeyPairSync('ed25519')
const now = new Date('2026-11-24T12:00:00Z')
const dayMs = 86_400_000

function issue(hosts: readonly string[] = ['chat.example', '192.0.2.7', '2001:db8::7'], at = now): Certificate {
  return issueCertificate({ issuerKey: issuer.privateKey, hosts, now: at, random })
}

suite('DER writes', () => {
  const cases: [string, Uint8Array, string][] = [
    ['a short length', der.octets(Buffer.alloc(2, 0xaa)), '0402aaaa'],
    ['the number 0', der.integer(Uint8Array.of(0)), '020100'],
    ['a number without leading zeros', der.integer(Uint8Array.of(0, 0, 5)), '020105'],
    ['a large first digit as a positive number', der.integer(Uint8Array.of(0x80)), '02020080'],
    ['an object identifier', der.oid('1.2.840.113549'), '06062a864886f70d'],
    [
      'an early time with two digits for the year',
      der.time(new Date('2049-12-31T23:59:59Z')),
      '170d3439313233313233353935395a',
    ],
    ['a late one with four', der.time(new Date('2050-01-01T00:00:00Z')), '180f32303530303130313030303030305a'],
    ['bits with some unused', der.bits(Uint8Array.of(0x80), 7), '03020780'],
    ['parts known by their place', der.context(2, { isWhole: false }, Uint8Array.of(1)), '820101'],
  ]
  for (const [what, bytes, hex] of cases) test(what, () => assert.equal(Buffer.from(bytes).toString('hex'), hex))

  test('lengths of more than 127 bytes', () => {
    assert.equal(Buffer.from(der.octets(Buffer.alloc(128))).toString('hex', 0, 3), '048180')
    assert.equal(Buffer.from(der.octets(Buffer.alloc(256))).toString('hex', 0, 4), '04820100')
    assert.equal(Buffer.from(der.octets(Buffer.alloc(65_536))).toString('hex', 0, 5), '0483010000')
  })
})

suite("a certificate of the server's own", () => {
  test('is a P-256 leaf that the Ed25519 key of the link has signed, and no other', () => {
    const leaf = new X509Certificate(issue().chain)
    assert.equal(leaf.publicKey.asymmetricKeyType, 'ec')
    assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    assert(leaf.verify(issuer.publicKey))
    assert(!leaf.verify(generateKeyPairSync('ed25519').publicKey))
    assert(!leaf.verify(leaf.publicKey))
    assert.equal(leaf.ca, false)
    assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1'])
  })

  test('names every host and address under which the server is dialled', () => {
    const leaf = new X509Certificate(issue().chain)
    assert.equal(leaf.subjectAltName, 'DNS:chat.example, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7')
    assert.equal(leaf.checkHost('chat.example'), 'chat.example')
    assert.equal(leaf.checkHost('other.example'), undefined)
    assert.equal(leaf.checkIP('192.0.2.7'), '192.0.2.7')
    for (const address of [
      '::1',
      '2001:db8::1:0:0:7',
      '1:2:3:4:5:6:7:8',
      '::ffff:192.0.2.1',
      'fe80::1%eth0',
      '2001:db8::',
    ])
      assert(new X509Certificate(issue([address]).chain).checkIP(address.replace(/%.*/, '')), address)
  })

  test('holds from yesterday for a year and a month', () => {
    const { chain, notAfter } = issue()
    const leaf = new X509Certificate(chain)
    assert.equal(Date.parse(leaf.validFrom), now.getTime() - dayMs)
    assert.equal(Date.parse(leaf.validTo), now.getTime() + 397 * dayMs)
    assert.equal(notAfter.getTime(), Date.parse(leaf.validTo))
  })

  test('has another key and number each time', () => {
    const [one, other] = [new X509Certificate(issue().chain), new X509Certificate(issue().chain)]
    assert.notEqual(one.serialNumber, other.serialNumber)
    assert.notEqual(one.fingerprint256, other.fingerprint256)
    assert(!one.publicKey.equals(other.publicKey))
  })

  test('is read by openssl as well', async (t) => {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'leaf.pem')
    await writeFile(file, issue().chain)
    const text = openssl(['x509', '-in', file, '-noout', '-text'])
    if (text === undefined) {
      t.skip('there is no openssl here')
      return
    }
    assert.match(text, /Version: 3 \(0x2\)/)
    assert.match(text, /Signature Algorithm: ED25519/)
    assert.match(text, /ASN1 OID: prime256v1/)
    assert.match(text, /Basic Constraints: critical\n\s+CA:FALSE/)
    assert.match(text, /Key Usage: critical\n\s+Digital Signature\n/)
    assert.match(text, /TLS Web Server Authentication/)
  })

  test('is known to clients by the hash of its public key', () => {
    const leaf = new X509Certificate(issue().chain)
    const spki = createPublicKey(leaf.publicKey.export({ format: 'pem', type: 'spki' })).export({
      format: 'der',
      type: 'spki',
    })
    assert.deepEqual(Buffer.from(certificateHash(leaf)), createHash('sha256').update(spki).digest())
  })

  test('names what an exposed server answers to', () => {
    const all = hostsOf('0.0.0.0', 'chat.example')
    assert.equal(all[0], 'chat.example')
    assert(all.includes('localhost') && all.includes('127.0.0.1') && new Set(all).size === all.length)
    assert.deepEqual(hostsOf('192.0.2.1', undefined).slice(0, 2), ['192.0.2.1', 'localhost'])
  })
})

suite('over TLS', () => {
  test('a proof names the certificate that its connection has shown, or none', async () => {
    await using world = await startTls()
    const alice = world.people.add()
    using peer = await world.connect({ rejectUnauthorized: false })
    await peer.prove(alice, { certificate: hashOf(world.certificate) })
    using browser = await world.connect({ rejectUnauthorized: false })
    await browser.prove(alice)
  })

  test('C01 a proof that a relay has passed on, with the certificate that it has shown itself, is refused', async () => {
    await using world = await startTls()
    const alice = world.people.add()
    using peer = await world.connect({ rejectUnauthorized: false })
    await assert.rejects(peer.prove(alice, { certificate: hashOf(issue()) }), { reason: 'unproved' })
    assert.equal(world.sessions.count, 0)
  })

  test('a client sees TLS 1.3, and that the key of the link has issued what it sees, before it says anything', async () => {
    await using world = await startTls()
    const socket = await dialTls(world, { minVersion: 'TLSv1.3' })
    assert.equal(socket.getProtocol(), 'TLSv1.3')
    const leaf = new X509Certificate((socket.getPeerCertificate(true) as DetailedPeerCertificate).raw)
    assert(leaf.verify(issuer.publicKey))
    socket.destroy()
  })

  test('N08 nothing older than TLS 1.2 is spoken', async () => {
    await using world = await startTls()
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    await assert.rejects(dialTls(world, old), /protocol version|version too low|no protocols|unsupported/i)
    const socket = await dialTls(world, { maxVersion: 'TLSv1.2' })
    assert.equal(socket.getProtocol(), 'TLSv1.2')
    socket.destroy()
  })

  test('N08 a plain request gets nothing', async () => {
    await using world = await startTls()
    const socket = connectPlain({ port: world.port, host: '127.0.0.1' })
    socket.on('error', () => {})
    socket.write('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
    const pieces: Buffer[] = []
    socket.on('data', (piece) => pieces.push(piece))
    await once(socket, 'close')
    assert.doesNotMatch(Buffer.concat(pieces).toString('latin1'), /200/)
  })

  test('a renewed certificate is for new connections; proofs on older ones still hold', async () => {
    await using world = await startTls()
    const older = await world.connect({ rejectUnauthorized: false })
    const renewed = issue()
    world.listener.useCertificate(renewed)
    await older.prove(world.people.add(), { certificate: hashOf(world.certificate) })
    using newer = await world.connect({ rejectUnauthorized: false })
    await newer.prove(world.people.add(), { certificate: hashOf(renewed) })
    older[Symbol.dispose]()
  })

  test('over a limit there is an answer as well', async () => {
    await using world = await startTls({ limits: { connectionsMax: 1 } })
    using _only = await world.connect({ rejectUnauthorized: false })
    const socket = await dialTls(world, {})
    socket.write('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(answer.toString('latin1'), /^HTTP\/1.1 503 .*retry-after: 5/is)
    socket.destroy()
  })
})

suite('certificate files', () => {
  const write = async (folder: string, { chain, privateKey }: Certificate) => {
    const files = { certificate: path.join(folder, 'cert.pem'), key: path.join(folder, 'key.pem') }
    await writeFile(files.certificate, chain)
    await writeFile(files.key, privateKey)
    return files
  }

  test('are read, and read again when they were replaced', async () => {
    await using folder = await temporaryFolder()
    const first = issue()
    const files = await write(folder.path, first)
    const source = await CertificateSource.ofFiles(files, () => now)
    assert.equal(source.present.chain, first.chain)
    const second = issue()
    await write(folder.path, second)
    assert.equal((await source.renew()).chain, second.chain)
    assert.equal(source.present.chain, second.chain)
  })

  test('that cannot be used are refused with the file and the reason, and the old ones stay', async () => {
    await using folder = await temporaryFolder()
    const good = issue()
    const files = await write(folder.path, good)
    const source = await CertificateSource.ofFiles(files, () => now)
    const bad: [Partial<Certificate>, RegExp][] = [
      [{ chain: 'no certificate' }, /cert\.pem cannot be used/],
      [{ privateKey: 'no key' }, /key\.pem cannot be used/],
      [{ privateKey: issue().privateKey }, /key\.pem is not the key of .*cert\.pem/],
      [issue(['chat.example'], new Date(now.getTime() - 400 * dayMs)), /cert\.pem has ended at 2026-11-21/],
      [issue(['chat.example'], new Date(now.getTime() + 2 * dayMs)), /cert\.pem begins at 2026-11-25/],
    ]
    for (const [change, says] of bad) {
      await write(folder.path, { ...good, ...change })
      await assert.rejects(source.renew(), (error) => error instanceof BadCertificate && says.test(error.message))
      assert.equal(source.present.chain, good.chain)
    }
    const missing = { ...files, key: path.join(folder.path, 'nowhere') }
    await assert.rejects(loadCertificate(missing, now), /nowhere cannot be read/)
  })
})

async function startTls(
  setting: Parameters<typeof startListening>[0] = {},
): Promise<World & { certificate: Certificate }> {
  const certificate = issue(['localhost', '127.0.0.1'], new Date())
  return Object.assign(await startListening({ certificate, ...setting }), { certificate })
}

async function dialTls({ port }: World, options: object): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  await once(socket, 'secureConnect')
  return socket
}

function hashOf({ chain }: Certificate): Hash {
  return certificateHash(new X509Certificate(chain))
}

function openssl(args: readonly string[]): string | undefined {
  try {
    return execFileSync('openssl', args, { encoding: 'utf8' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
