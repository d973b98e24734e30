import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { decode } from '../../src/codec.ts'
import {
  authorityOf,
  formatLink,
  fromBase64url,
  Invite,
  type Link,
  limits,
  PublicKey,
  parseLink,
  toBase64url,
} from '../../src/v3/index.ts'

const malformed = { name: 'ProtocolError', reason: 'malformed' }
const serverKey = decode(
  PublicKey,
  Uint8Array.from({ length: 32 }, (_, i) => 0xf8 + i),
)
const invite = decode(Invite, new Uint8Array(16).fill(0xfb))
const key = '-Pn6-_z9_v8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhc'
const place = '-_v7-_v7-_v7-_v7-_v7-w'

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/)
const hosts = fc.oneof(
  fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.')),
  fc.ipV4(),
  fc.constantFrom('::1', 'fe80::1', '2001:db8::7:1', '::ffff:192.0.2.1', 'localhost', 'xn--mnchen-3ya.de'),
)
const links: fc.Arbitrary<Link> = fc.record(
  {
    host: hosts,
    port: fc.oneof(fc.constantFrom(1, 80, 443, 65_535), fc.integer({ min: 1, max: 65_535 })),
    serverKey: bytesOf(32).map((bytes) => decode(PublicKey, bytes)),
    invite: fc.option(
      bytesOf(16).map((bytes) => decode(Invite, bytes)),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
)

describe('a link', () => {
  test('comes back from its text, and has one text', () => {
    fc.assert(
      fc.property(links, (link) => {
        const text = formatLink(link)
        assert.deepEqual(parseLink(text), link)
        assert.equal(formatLink(parseLink(text)), text)
        assert.ok(text.length <= limits.linkCharactersMax)
      }),
    )
  })

  test('says where the server is, who it is, and perhaps what lets one in', () => {
    const expected = { host: 'example.org', port: 443, serverKey, invite: undefined }
    assert.deepEqual(parseLink(`messageu://example.org/#${key}`), expected)
    assert.deepEqual(parseLink(`messageu://example.org:8443/#${key}/${place}`), { ...expected, port: 8443, invite })
    assert.deepEqual(parseLink(`messageu://[::1]:8080/#${key}`), { ...expected, host: '::1', port: 8080 })
  })

  test('reads the same with https, in capitals, and with blanks around it', () => {
    const link = parseLink(`messageu://example.org/#${key}`)
    for (const text of [
      `https://example.org/#${key}`,
      `MESSAGEU://EXAMPLE.org:443/#${key}`,
      ` https://example.org:443/#${key}\n`,
    ])
      assert.deepEqual(parseLink(text), link)
  })

  test('C14: with anything else in it is refused', () => {
    const others = [
      '',
      'example.org',
      `http://example.org/#${key}`,
      `messageu:example.org/#${key}`,
      `messageu://example.org#${key}`,
      `messageu://example.org/${key}`,
      `messageu://example.org/?a#${key}`,
      `messageu://example.org/a/#${key}`,
      `messageu://me@example.org/#${key}`,
      `messageu://example.org\\@evil.org/#${key}`,
      `messageu://exa mple.org/#${key}`,
      `messageu://exa\0mple.org/#${key}`,
      `messageu://exa\r\nHost:evil/#${key}`,
      `messageu://exa%2emple.org/#${key}`,
      `messageu://münchen.de/#${key}`,
      `messageu://еxample.org/#${key}`,
      `messageu:///#${key}`,
      `messageu://[]/#${key}`,
      `messageu://[1.2.3.4]/#${key}`,
      `messageu://[::1/#${key}`,
      `messageu://::1/#${key}`,
      `messageu://[fe80::1%25eth0]/#${key}`,
      `messageu://example.org:/#${key}`,
      `messageu://example.org:0/#${key}`,
      `messageu://example.org:65536/#${key}`,
      `messageu://example.org:123456/#${key}`,
      `messageu://example.org:-1/#${key}`,
      `messageu://example.org/#`,
      `messageu://example.org/#${key.slice(1)}`,
      `messageu://example.org/#${key}A`,
      `messageu://example.org/#${key}=`,
      `messageu://example.org/#${key.replace('-', '+')}`,
      `messageu://example.org/#${key}/`,
      `messageu://example.org/#${key}/${place}/`,
      `messageu://example.org/#${key}/${place}A`,
      `messageu://example.org/#${key}/${key}`,
      `messageu://example.org/#${key}\n#`,
      `messageu://${'a'.repeat(limits.hostBytesMax)}/#${key}`,
      `messageu://${'a.'.repeat(5000)}org/#${key}`,
      `messageu://example.org/#${'A'.repeat(1_000_000)}`,
      `messageu://example.org/#${key}${' '.repeat(limits.linkCharactersMax)}`,
    ]
    for (const text of others) assert.throws(() => parseLink(text), malformed, text.slice(0, 80))
  })

  test('has its key and its invite in their one canonical form', () => {
    const changed = key.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1))
    assert.throws(() => parseLink(`messageu://example.org/#${changed}`), malformed)
    const other = place.replace(/w$/, 'x')
    assert.throws(() => parseLink(`messageu://example.org/#${key}/${other}`), malformed)
  })

  test('of the longest host can be dialled and proved', () => {
    const host = 'a'.repeat(limits.hostBytesMax - ':65535'.length)
    const link = parseLink(`messageu://${host}:65535/#${key}/${place}`)
    assert.equal(Buffer.byteLength(authorityOf(link)), limits.hostBytesMax)
    assert.throws(() => parseLink(`messageu://${host}a:65535/#${key}/${place}`), malformed)
  })

  test('W04: any text is read as what it was written from, or refused', () => {
    const nearly = fc.array(
      fc.constantFrom('messageu', 'https', '://', 'a', '.', '[', ']', ':', '::1', '8', '/', '#', key, place, '%'),
    )
    const property = fc.property(
      fc.oneof(
        fc.string(),
        nearly.map((parts) => parts.join('')),
      ),
      (text) => {
        let link: Link
        try {
          link = parseLink(text)
        } catch (error) {
          assert.equal((error as { reason?: unknown }).reason, 'malformed')
          return
        }
        assert.deepEqual(parseLink(formatLink(link)), link)
      },
    )
    fc.assert(property, { numRuns: 2000 })
  })
})

describe('host and port as they are dialled', () => {
  test('leave out the port of https, and put brackets around IPv6', () => {
    const cases = [
      ['example.org', 443, 'example.org'],
      ['example.org', 8443, 'example.org:8443'],
      ['192.0.2.1', 80, '192.0.2.1:80'],
      ['::1', 443, '[::1]'],
      ['::1', 8080, '[::1]:8080'],
    ] as const
    for (const [host, port, authority] of cases) assert.equal(authorityOf({ host, port }), authority)
  })
})

describe('base64url', () => {
  test('comes back, and is what Node writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
        const text = toBase64url(bytes)
        assert.equal(text, Buffer.from(bytes).toString('base64url'))
        assert.deepEqual(fromBase64url(text), bytes)
      }),
    )
  })

  test('W05: has one form: no padding, no other alphabet, no spare bits', () => {
    for (const text of ['A', 'AAAAA', 'AB', 'AAB', 'AA==', 'A A', 'AA\n', '++', '//', 'é', 'AA=', '\ud800'])
      assert.throws(() => fromBase64url(text), malformed, text)
    for (const text of ['', 'AA', 'AQ', 'AAA', 'AAE', 'AAAA', '-_-_'])
      assert.equal(toBase64url(fromBase64url(text)), text)
  })
})
