import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import {
  ConfigError,
  type ConfigSources,
  defaultOf,
  flagOf,
  isExposed,
  readConfig,
  type SettingName,
  settings,
  variableOf,
} from '../src/config.ts'
import { temporaryFolder } from './world.ts'

/** Reads settings from what is given, in a folder where nothing else says anything. */
async function read({ toml, portInfo, ...given }: Partial<ConfigSources> & { toml?: string; portInfo?: string }) {
  await using temporary = await temporaryFolder()
  const file = path.join(temporary.path, 'server.toml')
  if (toml !== undefined) await writeFile(file, toml)
  if (portInfo !== undefined) await writeFile(path.join(temporary.path, 'port.info'), portInfo)
  const sources = { flags: {}, environment: {}, workingFolder: temporary.path, ...given }
  return readConfig(toml === undefined ? sources : { ...sources, file })
}

suite('settings', () => {
  test('have defaults that expose nothing', async () => {
    const config = await read({})
    assert.equal(config.host, '127.0.0.1')
    assert.equal(config.port, 8470)
    assert.equal(config['v2.host'], '127.0.0.1')
    assert.equal(config['v2.port'], 1234)
    assert.equal(isExposed(config), false)
    assert.equal(config['metrics-port'], undefined)
    assert.equal(config.data, './messageu-data')
    assert.equal(config['v2.private-ids'], false)
  })

  test('come from the flag, else the environment, else the file, else port.info', async () => {
    const portInfo = '1\n'
    const toml = '[v2]\nport = 2'
    const environment = { MESSAGEU_V2_PORT: '3' }
    const flags = { 'v2.port': '4' }
    assert.equal((await read({ portInfo }))['v2.port'], 1)
    assert.equal((await read({ portInfo, toml }))['v2.port'], 2)
    assert.equal((await read({ portInfo, toml, environment }))['v2.port'], 3)
    assert.equal((await read({ portInfo, toml, environment, flags }))['v2.port'], 4)
  })

  // biome-ignore format: the columns are the point
  const values: [SettingName, string, unknown][] = [
    ['data', '/var/messageu', '/var/messageu'],
    ['host', '0.0.0.0', '0.0.0.0'],
    ['port', '0', 0],
    ['link-host', 'Chat.Example.org', 'chat.example.org'],
    ['link-host', 'chat.example.org:8443', 'chat.example.org:8443'],
    ['link-host', '[2001:DB8::1]:8443', '[2001:db8::1]:8443'],
    ['registration', 'closed', 'closed'],
    ['directory', 'true', true],
    ['quota', '500MiB', 500 * 2 ** 20],
    ['requests-per-second', '5', 5],
    ['metrics-port', '9000', 9000],
    ['v2.host', '::', '::'],
    ['v2.port', '0', 0],
    ['v2.port', '65535', 65535],
    ['v2.private-ids', 'true', true],
    ['v2.private-ids', 'false', false],
    ['v2.mailbox-quota', '500MiB', 500 * 2 ** 20],
    ['v2.mailbox-quota', '2TiB', 2 ** 41],
    ['v2.clients', '1', 1],
    ['disk-reserve', '0%', 0],
    ['disk-reserve', '2.5%', 0.025],
    ['log-level', 'debug', 'debug'],
  ]
  for (const [name, text, value] of values)
    test(`${name} takes ${text}, whichever way it is written`, async () => {
      const host = name === 'link-host' ? { host: '0.0.0.0' } : {} // which makes no sense without the other
      assert.equal((await read({ flags: { ...host, [name]: text } }))[name], value)
      assert.equal((await read({ flags: host, environment: { [variableOf(name)]: text } }))[name], value)
      assert.equal((await read({ flags: host, toml: `${name} = "${text}"` }))[name], value)
    })

  // biome-ignore format: the columns are the point
  const refused: [SettingName, string][] = [
    ['data', ''],
    ['host', ''],
    ['port', '65536'],
    ['link-host', 'http://chat.example.org'], ['link-host', 'a b'], ['link-host', 'chat:0'], ['link-host', 'chat:65536'], ['link-host', '2001:db8::1'], ['link-host', '-a'],
    ['registration', 'opened'],
    ['quota', '5'],
    ['requests-per-second', '0'],
    ['v2.host', ''],
    ['v2.port', '65536'], ['v2.port', '-1'], ['v2.port', '1.5'], ['v2.port', '0x10'], ['v2.port', ' 1'], ['v2.port', ''],
    ['v2.private-ids', 'yes'],
    ['v2.mailbox-quota', '5'], ['v2.mailbox-quota', '5GB'], ['v2.mailbox-quota', '-5GiB'],
    ['v2.clients', '0'],
    ['disk-reserve', '5'], ['disk-reserve', '100%'], ['disk-reserve', '-1%'],
    ['log-level', 'verbose'],
  ]
  for (const [name, text] of refused)
    test(`${name} refuses ${JSON.stringify(text)}, and says where it stands`, async () => {
      const quoted = JSON.stringify(text)
      const complaint = (where: string) => (error: Error) =>
        error instanceof ConfigError && error.message.includes(`${where} is ${quoted}, but it takes `)
      await assert.rejects(read({ flags: { [name]: text } }), complaint(flagOf(name)))
      await assert.rejects(read({ environment: { [variableOf(name)]: text } }), complaint(variableOf(name)))
      await assert.rejects(read({ toml: `${name} = ${quoted}` }), (error: Error) => complaint('server.toml')(error))
    })

  test('that do not exist are mistakes, and the known ones are named', async () => {
    const known = (error: Error) => error instanceof ConfigError && /known are/.test(error.message)
    await assert.rejects(read({ environment: { MESSAGEU_V2_PROT: '1' } }), known)
    await assert.rejects(read({ toml: 'v2.prot = 1' }), known)
    await assert.rejects(read({ toml: '[__proto__]\nport = 1' }), ConfigError)
    await assert.rejects(read({ toml: '[[v2]]\nport = 1' }), known)
  })

  test('of other commands and of other programs are not looked at', async () => {
    const environment = { MESSAGEU_PROFILE: 'x', MESSAGEU_DATA_DIR: 'x', MESSAGEU_CONFIG: 'x', PATH: 'x', PORT: '1' }
    assert.deepEqual(await read({ environment }), await read({}))
  })

  test('in a file that cannot be read, or is not TOML, are mistakes with a place', async () => {
    await assert.rejects(read({ file: '/nowhere/at.all' }), /\/nowhere\/at\.all cannot be read/)
    await assert.rejects(read({ toml: '\n\nport = = 1' }), /server\.toml, line 3/)
    await assert.rejects(read({ portInfo: 'twelve' }), /port\.info is "twelve"/)
  })

  test('that make no sense together are mistakes', async () => {
    const contradictions: [Partial<Record<SettingName, string>>, RegExp][] = [
      [{ 'tls-cert': 'cert.pem' }, /--tls-cert and --tls-key belong together/],
      [{ 'tls-key': 'key.pem' }, /--tls-cert and --tls-key belong together/],
      [{ 'link-host': 'chat.example' }, /--link-host is chat\.example, but only this machine can reach 127/],
      [{ 'behind-proxy': 'true' }, /--behind-proxy needs --link-host/],
      ...['localhost', 'localhost:8470', '127.0.0.1', '[::1]:8470'].map(
        (host): [Partial<Record<SettingName, string>>, RegExp] => [
          { host: '0.0.0.0', 'link-host': host },
          /--link-host is .+, which leads nowhere: this server speaks TLS, and clients dial .+ without/,
        ],
      ),
      [
        { 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' },
        /--tls-cert needs --link-host.*clients dial 127\.0\.0\.1 without/,
      ],
      [
        { 'behind-proxy': 'true', 'link-host': 'chat.example', 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' },
        /--behind-proxy leaves TLS to the proxy/,
      ],
    ]
    for (const [flags, says] of contradictions)
      await assert.rejects(read({ flags }), (error) => error instanceof ConfigError && says.test(error.message))
    await read({ flags: { 'behind-proxy': 'true', 'link-host': 'chat.example' } })
    await read({ flags: { host: '0.0.0.0', 'link-host': 'chat.example' } })
    await read({ flags: { 'behind-proxy': 'true', 'link-host': 'localhost:8080' } })
    await read({ flags: { 'link-host': 'chat.example', 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' } })
    for (const host of ['localhost', 'localhost:1', '127.0.0.1:1', '[::1]'])
      await read({ flags: { 'link-host': host } })
  })

  test('say whether other machines can reach the server', async () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
      assert.equal(isExposed(await read({ flags: { host } })), false, host)
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'chat.example'])
      assert.equal(isExposed(await read({ flags: { host } })), true, host)
    assert(isExposed(await read({ flags: { 'behind-proxy': 'true', 'link-host': 'chat.example' } })))
  })

  test('tell in words what counts where nobody says anything', () => {
    assert.equal(defaultOf('port'), '8470')
    assert.equal(defaultOf('registration'), 'open on loopback, invite elsewhere')
    for (const name of Object.keys(settings) as SettingName[]) assert.doesNotMatch(defaultOf(name), /undefined/)
  })

  test('have a flag and a variable each, and no two the same', () => {
    const names = Object.keys(settings) as SettingName[]
    for (const written of [flagOf, variableOf]) assert.equal(new Set(names.map(written)).size, names.length)
  })
})
