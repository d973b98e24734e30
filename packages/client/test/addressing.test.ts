import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLoopback, socketUrl, usesTls } from '../src/addressing.ts'

const loopback = ['localhost', '127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1']
const elsewhere = [
  'example.org',
  'localhost.example.org',
  '127.0.0.1.example.org',
  '127.1',
  '127.0.0.256',
  '0127.0.0.1',
  '128.0.0.1',
  '0.0.0.0',
  '::',
  '10.0.0.1',
  'localhost.',
  '',
]

test('plain text stays on this machine, and everything else is TLS', () => {
  for (const host of loopback) assert.equal(isLoopback(host), true, host)
  for (const host of elsewhere) assert.equal(isLoopback(host), false, host)
  for (const host of loopback) assert.equal(usesTls({ host }, 'auto'), false, host)
  for (const host of elsewhere) assert.equal(usesTls({ host }, 'auto'), true, host)
})

test('only the caller can say otherwise', () => {
  assert.equal(usesTls({ host: 'localhost' }, 'tls'), true)
  assert.equal(usesTls({ host: 'example.org' }, 'plain'), false)
})

test('the address of the WebSocket names the port, and brackets what has colons', () => {
  const link = { port: 443, serverKey: new Uint8Array(32) as never, invite: undefined }
  assert.equal(socketUrl({ ...link, host: 'example.org' }, 'auto'), 'wss://example.org:443/v3')
  assert.equal(socketUrl({ ...link, host: '::1', port: 8080 }, 'auto'), 'ws://[::1]:8080/v3')
})
