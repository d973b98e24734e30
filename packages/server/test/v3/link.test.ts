import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { suite, test } from 'node:test'
import { dialledHost, isOwnOrigin } from '../../src/v3/http.ts'
import { dialledAt } from '../../src/v3/link.ts'

suite('the link names', () => {
  const bound = { host: '127.0.0.1', port: 8470 }
  const proxied = (host: string) => dialledAt({ 'link-host': host, 'behind-proxy': true }, bound)
  const direct = (host: string | undefined, at = bound) => dialledAt({ 'link-host': host, 'behind-proxy': false }, at)

  test('where the server listens, unless the operator says something else', () => {
    assert.deepEqual(direct(undefined), bound)
    assert.deepEqual(direct('chat.example'), { host: 'chat.example', port: 8470 })
    assert.deepEqual(direct('chat.example:8443'), { host: 'chat.example', port: 8443 })
    assert.deepEqual(direct('[2001:db8::1]'), { host: '2001:db8::1', port: 8470 })
    assert.deepEqual(direct('[2001:db8::1]:8443'), { host: '2001:db8::1', port: 8443 })
  })

  test('the usual port behind a proxy', () => {
    assert.deepEqual(proxied('chat.example'), { host: 'chat.example', port: 443 })
    assert.deepEqual(proxied('chat.example:8443'), { host: 'chat.example', port: 8443 })
  })

  test('something that can be dialled, where the server listens everywhere', () => {
    for (const host of ['0.0.0.0', '::']) {
      const place = direct(undefined, { host, port: 1 })
      assert(isIP(place.host) !== 0 || place.host.length > 0)
      assert(!['0.0.0.0', '::'].includes(place.host))
    }
  })
})

suite('the host as dialled', () => {
  const plain = { security: 'plain', isLocalOnly: false } as const
  const tls = { security: 'tls', isLocalOnly: false } as const

  test('is what the link says, whether or not the port is written', () => {
    assert.equal(dialledHost('Chat.Example:8443', tls), 'chat.example:8443')
    assert.equal(dialledHost('chat.example', tls), 'chat.example')
    assert.equal(dialledHost('chat.example:443', tls), 'chat.example')
    assert.equal(dialledHost('127.0.0.1', plain), '127.0.0.1:80')
    assert.equal(dialledHost('127.0.0.1:443', plain), '127.0.0.1')
    assert.equal(dialledHost('[::1]:8470', plain), '[::1]:8470')
  })

  test('has to be there, and to be a host', () => {
    for (const host of [undefined, '', 'a b', 'user@host', 'host:port', 'host/path', '[::1', 'x'.repeat(300)]) {
      const rejection = dialledHost(host, plain)
      assert(typeof rejection === 'object' && rejection.status === 400, String(host))
    }
  })

  test('is compared with the origin of a page, its port included', () => {
    assert(isOwnOrigin('https://chat.example', 'chat.example'))
    assert(isOwnOrigin('https://chat.example:443', 'chat.example'))
    assert(isOwnOrigin('http://127.0.0.1:8470', '127.0.0.1:8470'))
    assert(!isOwnOrigin('http://chat.example', 'chat.example'), 'that is port 80')
    assert(!isOwnOrigin('https://chat.example.evil', 'chat.example'))
    for (const origin of ['null', '', 'file://', 'https://', 'https://chat.example/path', 'chat.example'])
      assert(!isOwnOrigin(origin, 'chat.example'), origin)
  })
})
