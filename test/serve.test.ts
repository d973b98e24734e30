import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { suite, test } from 'node:test'
import { Run, run, ServerProcess, temporaryFolder } from './serverProcess.ts'

suite('serve says that it listens', () => {
  test('with --json in one line', async () => {
    await using temporary = await temporaryFolder()
    await using server = await ServerProcess.start({ folder: temporary.of('data') })
    await server.end()
    const [line = '', ...rest] = server.run.out.split('\n')
    assert.deepEqual(rest, [''])
    const { port } = server.address
    assert.deepEqual(JSON.parse(line), { v: 1, event: 'listening', v2: { host: '127.0.0.1', port } })
    assert(port > 0)
  })

  test('without it in words, with the port and what to do next', async () => {
    await using temporary = await temporaryFolder()
    const server = new Run(['serve', '--v2-port', '0', '--data', temporary.of('data')], {})
    await server.until(() => server.out.includes('Ctrl-C'))
    server.child.kill('SIGINT')
    assert.deepEqual(await server.exited, { code: 0, signal: null })
    assert.match(server.out, /^MessageU listens on 127\.0\.0\.1:\d+ \(version 2\) and keeps everything in \//)
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
      const args = ['serve', '--json', '--data', temporary.of('data')]
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

  const mistakes: { what: string; args?: string[]; variable?: [string, string]; toml?: string; says: RegExp }[] = [
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
  for (const { what, args = [], variable, toml, says } of mistakes)
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
      assert.match(err, /try: messageu serve --help/)
      await mkdir(data) // it was not there
    })

  test('and refuses a port.info that holds no port', async () => {
    await using temporary = await temporaryFolder()
    await writeFile(temporary.of('port.info'), 'twelve')
    const { exit, err } = await run(['serve', '--data', temporary.of('data')], { cwd: temporary.path })
    assert.equal(exit.code, 2)
    assert.match(err, /port\.info is "twelve", but it takes a whole number/)
  })
})

async function taken(port: number): Promise<AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host: '127.0.0.1' }, resolve)
  })
  return server
}
