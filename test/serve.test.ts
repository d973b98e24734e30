import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { parseLink } from '@messageu/protocol/v3'
import { launcher } from '../packages/cli/test/launcher.ts'
import { issueCertificate } from '../packages/server/src/v3/certificate.ts'
import { Run, run, ServerProcess, temporaryFolder } from './serverProcess.ts'

suite('serve says that it listens', () => {
  test('with --json in one line', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data') })
    await server.end()
    const [line = '', ...rest] = server.run.out.split('\n')
    assert.deepEqual(rest, [''])
    const { port } = server.address
    const { http, link, adminInvite, ...said } = JSON.parse(line) as Listening
    assert.deepEqual(said, { v: 1, event: 'listening', v2: { host: '127.0.0.1', port } })
    assert(port > 0 && http.port > 0 && http.host === '127.0.0.1')
    const { serverKey, ...place } = parseLink(link)
    assert.deepEqual(place, { ...http, invite: undefined })
    assert.deepEqual({ ...parseLink(adminInvite ?? ''), invite: undefined }, parseLink(link))
    assert.equal(serverKey.length, 32)
  })

  test('and where its metrics are, if it has any', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: ['--metrics-port', '0'] })
    const { metrics } = listening(server)
    const response = await fetch(`http://${metrics?.host}:${metrics?.port}/metrics`)
    assert.match(await response.text(), /^messageu_connections 0$/m)
  })

  test('without it in words, with the port and what to do next', async () => {
    await using temporary = await temporaryFolder()
    const server = new Run(['serve', '--port', '0', '--v2-port', '0', '--data', temporary.of('data')], {})
    await server.until(() => server.out.includes('Ctrl-C'))
    server.child.kill('SIGINT')
    assert.deepEqual(await server.exited, { code: 0, signal: null })
    assert.match(server.out, /^MessageU keeps everything in \//)
    assert.match(server.out, /Link to this server:\n {2}messageu:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}\n/)
    assert.match(
      server.out,
      /Invite for the first person.*\n {2}messageu:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}\/[\w-]{22}\n/,
    )
    assert.match(server.out, /npx messageu register alice --server 'messageu:/)
    assert.match(server.out, /npx messageu v2 register alice --server 127\.0\.0\.1:\d+/)
    assert.doesNotMatch(server.err, /warning/)
  })

  test('and on standard error in JSON lines with a time and a level', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data') })
    await server.end()
    const lines = server.run.err.trimEnd().split('\n')
    const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual(
      events.map(({ event }) => event),
      ['storage-open', 'listening', 'stopping', 'stopped'],
    )
    for (const { time, level } of events) assert(!Number.isNaN(Date.parse(String(time))) && level === 'info')
  })

  test('with a warning when other machines can reach it', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({
      folder: temporary.of('data'),
      flags: ['--v2-host', '0.0.0.0'],
    })
    assert.match(server.run.err, /warning: version 2 is open to other machines/)
    assert.equal(server.address.host, '0.0.0.0')
  })
})

suite('serve takes its settings', () => {
  const cases = [
    { from: 'the default', expected: 1234 },
    { from: 'port.info', portInfo: 4001, expected: 4001 },
    { from: 'the file before port.info', portInfo: 4001, file: 4002, expected: 4002 },
    { from: 'the environment before the file', portInfo: 4001, file: 4002, variable: 4003, expected: 4003 },
    { from: 'the flag before everything', portInfo: 4001, file: 4002, variable: 4003, flag: 4004, expected: 4004 },
  ]
  for (const { from, portInfo, file, variable, flag, expected } of cases)
    test(`from ${from}`, async () => {
      await using temporary = await temporaryFolder()
      const cwd = temporary.path
      if (portInfo !== undefined) await writeFile(temporary.of('port.info'), `${portInfo}\n`)
      if (file !== undefined) await writeFile(temporary.of('server.toml'), `[v2]\nport = ${file}\n`)
      const args = ['serve', '--json', '--port', '0', '--data', temporary.of('data')]
      if (file !== undefined) args.push('--config', temporary.of('server.toml'))
      if (flag !== undefined) args.push('--v2-port', String(flag))
      // the port is taken, so that the complaint names the port that was asked for
      await using _ = await taken(expected)
      const environment = variable === undefined ? {} : { MESSAGEU_V2_PORT: String(variable) }
      const { exit, events } = await run(args, { cwd, environment })
      assert.equal(exit.code, 1)
      assert.equal(events[0]?.code, 'port-taken')
      assert.match(String(events[0]?.message), new RegExp(`port ${expected} on 127.0.0.1 is taken`))
      assert.match(String(events[0]?.try), /choose another port with --v2-port/)
    })

  test('and says which port is taken', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: ['--port', '0'] })
    const { port } = listening(server).http
    const others = ['--v2-port', '0', '--data', temporary.of('other'), '--json']
    const http = await run(['serve', '--port', String(port), ...others])
    assert.match(http.out, new RegExp(`port ${port} on 127.0.0.1 is taken.*--port`))
    const metrics = await run(['serve', '--port', '0', '--metrics-port', String(port), ...others])
    assert.match(metrics.out, new RegExp(`port ${port} on 127.0.0.1 is taken.*--metrics-port`))
  })

  const mistakes: {
    what: string
    args?: string[]
    variable?: [string, string]
    toml?: string
    says: RegExp
    touches?: boolean
  }[] = [
    { what: 'a proxy that nobody can dial', args: ['--behind-proxy'], says: /--behind-proxy needs --link-host/ },
    { what: 'half a certificate', args: ['--tls-cert', 'x.pem'], says: /--tls-cert and --tls-key belong together/ },
    {
      what: 'a certificate that is not there',
      args: [
        ...['--tls-cert', 'nowhere.pem', '--tls-key', 'nowhere.pem', '--link-host', 'chat.example'],
        ...['--port', '0', '--v2-port', '0'],
      ],
      says: /nowhere\.pem cannot be read/,
      touches: true,
    },
    { what: 'an unknown flag', args: ['--prot', '1'], says: /unknown option '--prot'/ },
    {
      what: 'a flag that takes no number',
      args: ['--v2-port', 'http'],
      says: /--v2-port is "http", but it takes a whole/,
    },
    { what: 'a port out of range', args: ['--v2-port', '65536'], says: /--v2-port is "65536"/ },
    { what: 'something behind the flags', args: ['now'], says: /too many arguments/ },
    {
      what: 'an unknown variable',
      variable: ['MESSAGEU_V2_PROT', '1'],
      says: /no setting MESSAGEU_V2_PROT; known are/,
    },
    {
      what: 'a bad variable',
      variable: ['MESSAGEU_DISK_RESERVE', '5'],
      says: /MESSAGEU_DISK_RESERVE is "5", but it takes a percentage/,
    },
    {
      what: 'an unknown key',
      toml: 'v2.prot = 1',
      says: /server\.toml has the key v2\.prot, which does not exist; known are/,
    },
    { what: 'a bad value in the file', toml: '[v2]\nclients = -1', says: /v2\.clients in .*server\.toml is -1/ },
    { what: 'a file that is not TOML', toml: 'a = = 1', says: /server\.toml, line 1/ },
    {
      what: 'a file that is not there',
      args: ['--config', '/nowhere/server.toml'],
      says: /\/nowhere\/server\.toml cannot be read/,
    },
  ]
  for (const { what, args = [], variable, toml, says, touches = false } of mistakes)
    test(`and refuses ${what} with status 2, before it touches anything`, async () => {
      await using temporary = await temporaryFolder()
      if (toml !== undefined) await writeFile(temporary.of('server.toml'), toml)
      const config = toml === undefined ? [] : ['--config', temporary.of('server.toml')]
      const environment = variable === undefined ? {} : Object.fromEntries([variable])
      const data = temporary.of('data')
      const { exit, err } = await run(['serve', '--data', data, ...config, ...args], {
        cwd: temporary.path,
        environment,
      })
      assert.equal(exit.code, 2, err)
      assert.match(err, says)
      assert.match(err, /\n {2}try: \S/)
      if (!touches) await mkdir(data) // it was not there
    })

  test('and refuses a port.info that holds no port', async () => {
    await using temporary = await temporaryFolder()
    await writeFile(temporary.of('port.info'), 'twelve')
    const { exit, err } = await run(['serve', '--data', temporary.of('data')], { cwd: temporary.path })
    assert.equal(exit.code, 2)
    assert.match(err, /port\.info is "twelve", but it takes a whole number/)
  })
})

suite('a server for others', () => {
  const exposed = ['--host', '0.0.0.0', '--port', '0', '--link-host', 'chat.example']

  test('speaks TLS under a certificate that the key in its link has issued', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: exposed })
    const { http, link } = listening(server)
    const { serverKey, host, port } = parseLink(link)
    assert.deepEqual({ host, port }, { host: 'chat.example', port: http.port })
    const leaf = await certificateAt(http.port)
    assert(leaf.verify(ed25519(serverKey)))
    for (const name of ['chat.example', 'localhost']) assert.equal(leaf.checkHost(name), name)
  })

  test('needs invites, and gives the first one to whoever starts it, once', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: exposed })
    const { link, adminInvite = '' } = listening(server)
    const { invite, ...place } = parseLink(adminInvite)
    assert.equal(invite?.length, 16)
    assert.deepEqual({ ...place, invite: undefined }, parseLink(link))
    await server.end()
    assert(!server.run.err.includes(adminInvite.split('/').at(-1) ?? ''), 'it is not in the log')
  })

  test('shows the invite in words as well, without a code where there is no camera', async () => {
    await using temporary = await temporaryFolder()
    const server = new Run(['serve', ...exposed, '--v2-port', '0', '--data', temporary.of('data')], {})
    await server.until(() => server.out.includes('Ctrl-C'))
    server.child.kill('SIGTERM')
    await server.exited
    assert.match(
      server.out,
      /Invite for the first person.*\n {2}messageu:\/\/chat\.example:\d+\/#[\w-]{43}\/[\w-]{22}\n/,
    )
    assert.doesNotMatch(server.out, /[\u2580\u2584\u2588]/)
  })

  test('is the same one after a restart: its key stays, its certificate does not', async () => {
    await using temporary = await temporaryFolder()
    const start = () => ServerProcess.start({ folder: temporary.of('data'), flags: exposed })
    const seen = []
    for (let i = 0; i < 2; i++) {
      await using server = await start()
      const { http, link } = listening(server)
      seen.push({ key: parseLink(link).serverKey, leaf: await certificateAt(http.port) })
      await server.end()
    }
    const [first, second] = seen
    assert.deepEqual(first?.key, second?.key)
    assert.notEqual(first?.leaf.fingerprint256, second?.leaf.fingerprint256)
  })

  test('is told that it is open to everybody, if it is', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({
      folder: temporary.of('data'),
      flags: [...exposed, '--registration', 'open'],
    })
    assert.match(server.run.err, /warning: whoever reaches this server may register/)
  })

  test('has no invite for anybody as long as it is closed', async () => {
    await using temporary = await temporaryFolder()
    const flags = [...exposed, '--registration', 'closed']
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags })
    assert.equal(listening(server).adminInvite, undefined)
  })

  test('N08 takes new certificate files when it is told to, and keeps the old ones if it cannot', async () => {
    await using temporary = await temporaryFolder()
    const files = { cert: temporary.of('cert.pem'), key: temporary.of('key.pem') }
    const write = async (): Promise<string> => {
      const { chain, privateKey } = issued()
      await writeFile(files.cert, chain)
      await writeFile(files.key, privateKey)
      return new X509Certificate(chain).fingerprint256
    }
    const first = await write()
    await using server = await ServerProcess.start({
      folder: temporary.of('data'),
      flags: [...exposed, '--tls-cert', files.cert, '--tls-key', files.key],
    })
    const { port } = listening(server).http
    assert.equal((await certificateAt(port)).fingerprint256, first)
    const second = await write()
    server.run.child.kill('SIGHUP')
    await server.run.until(() => server.run.err.includes('certificate-renewed'))
    assert.equal((await certificateAt(port)).fingerprint256, second)
    await writeFile(files.key, 'no key')
    server.run.child.kill('SIGHUP')
    await server.run.until(() => server.run.err.includes('certificate-kept'))
    assert.match(server.run.err, /key\.pem cannot be used/)
    assert.equal((await certificateAt(port)).fingerprint256, second)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
  })

  test('K12 is as private as its data folder: the socket of its operator', async () => {
    await using temporary = await temporaryFolder()
    await using _server = await ServerProcess.start({ folder: temporary.of('data'), flags: exposed })
    assert.equal((await stat(temporary.of('data'))).mode & 0o777, 0o700)
    assert.equal((await stat(path.join(temporary.of('data'), 'admin.sock'))).mode & 0o777, 0o600)
  })
})

suite('a terminal', () => {
  // `script` gives a terminal to what it runs; whoever kills it takes the terminal away, as closing a window does
  const hasScript = !spawnSync('script', ['--version']).error

  test('that goes takes the server with it, which ends and frees its folder', { skip: !hasScript }, async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const command = [process.execPath, launcher, 'serve', '--port', '0', '--v2-port', '0', '--data', folder].join(' ')
    const terminal = spawn('script', ['-q', '-e', '-c', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
    let shown = ''
    terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text
    })
    while (!shown.includes('Ctrl-C')) await once(terminal.stdout, 'data')
    const { pid } = JSON.parse(await readFile(path.join(folder, 'owner'), 'utf8')) as { pid: number }
    terminal.kill('SIGKILL')
    await once(terminal, 'exit')
    while (isAlive(pid)) await sleep(20)
    await using server = await ServerProcess.start({ folder, flags: ['--port', '0'] })
    assert(listening(server).http.port > 0)
  })
})

interface Listening {
  readonly http: { readonly host: string; readonly port: number }
  readonly link: string
  readonly adminInvite?: string
  readonly metrics?: { readonly host: string; readonly port: number }
}

function listening({ run: { events } }: ServerProcess): Listening {
  const event = events.find((each) => each.event === 'listening')
  return event as unknown as Listening // what it holds is the business of the first test
}

function certificateAt(port: number): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(new X509Certificate(socket.getPeerCertificate(true).raw))
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

function ed25519(key: Uint8Array): KeyObject {
  const x = Buffer.from(key).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

function issued() {
  const { privateKey } = generateKeyPairSync('ed25519')
  return issueCertificate({
    issuerKey: privateKey,
    hosts: ['localhost'],
    now: new Date(),
    random: (count) => new Uint8Array(randomBytes(count)),
  })
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function taken(port: number): Promise<AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host: '127.0.0.1' }, resolve)
  })
  return server
}
