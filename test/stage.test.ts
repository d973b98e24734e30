/**
 * What is published, as somebody has it who installs it. Nothing here asks a registry: the libraries that our packages
 * depend on are packed from the repository's own node_modules, and npm installs from files alone, with an empty cache.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, globSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { keepPublicDeclarations } from '../scripts/declarations.ts'
import { run, ServerProcess, temporaryFolder } from './serverProcess.ts'

const repository = path.join(import.meta.dirname, '..')
const execute = promisify(execFile)

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
}

function manifestIn(folder: string): Manifest {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as Manifest
}

/** Folders in node_modules of everything that the staged packages need at run time and that is not ours. */
function librariesOf(manifests: readonly Manifest[], found = new Set<string>()): ReadonlySet<string> {
  for (const name of manifests.flatMap(({ dependencies = {} }) => Object.keys(dependencies))) {
    const folder = path.join(repository, 'node_modules', name)
    if (name.startsWith('@messageu/') || found.has(folder)) continue
    found.add(folder)
    librariesOf([manifestIn(folder)], found)
  }
  return found
}

describe('what is published', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let packages: string[]
  let installed: string
  let program: string

  before(async () => {
    folder = await temporaryFolder('memory')
    const staged = folder.of('staged')
    await node(['scripts/stage.ts', staged], repository)
    packages = (await readdir(staged)).map((name) => path.join(staged, name))
    const archives = folder.of('archives')
    installed = folder.of('installed')
    await Promise.all([mkdir(archives), mkdir(installed)])
    const libraries = librariesOf(packages.map(manifestIn))
    await npm(['pack', '--ignore-scripts', '--pack-destination', archives, ...packages, ...libraries], repository)
    writeFileSync(path.join(installed, 'package.json'), '{ "private": true, "type": "module" }')
    const files = (await readdir(archives)).map((name) => path.join(archives, name))
    await npm(['install', '--offline', '--cache', folder.of('cache'), '--ignore-scripts', ...files], installed)
    for (const file of ['bench/gathering.ts', 'test/staged/user.ts'])
      cpSync(path.join(repository, file), path.join(installed, file))
    program = path.join(installed, 'node_modules/.bin/messageu')
  })
  after(() => folder[Symbol.asyncDispose]())

  test('the command starts, serves, and registers at the server that it serves', async () => {
    const version = await run(['--version'], { program })
    assert.deepEqual([version.exit.code, version.out], [0, '0.1.0\n'])
    await using server = await ServerProcess.start({ program, folder: folder.of('data') })
    const environment = { MESSAGEU_DATA_DIR: folder.of('profiles'), MESSAGEU_SERVER: server.link }
    const registered = await run(['register', 'alice', '--json'], { program, environment })
    assert.deepEqual([registered.exit.code, registered.events[0]?.event], [0, 'registered'], registered.err)
    const known = await run(['whoami', '--json'], { program, environment })
    assert.deepEqual([known.exit.code, known.events[0]?.name], [0, 'alice'], known.err)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
  })

  test('a command that asks a server does so without what Node has for HTTP', async () => {
    const [hook, loaded] = [folder.of('loaded.cjs'), folder.of('loaded.txt')]
    const written = `writeFileSync(${JSON.stringify(loaded)}, process.moduleLoadList.join('\\n'))`
    writeFileSync(hook, `process.on('exit', () => require('node:fs').${written})`)
    await using server = await ServerProcess.start({ program, folder: folder.of('asked') })
    const environment = { MESSAGEU_DATA_DIR: folder.of('asking'), MESSAGEU_SERVER: server.link }
    const hooked = { ...environment, NODE_OPTIONS: `--require ${JSON.stringify(hook)}` }
    const registered = await run(['register', 'alice', '--json'], { program, environment: hooked })
    assert.equal(registered.exit.code, 0, registered.err)
    const modules = readFileSync(loaded, 'utf8').split('\n')
    assert.ok(modules.includes('NativeModule net'))
    assert.deepEqual(
      modules.filter((each) => /^NativeModule (?:_?http|zlib)/.test(each)),
      [],
    )
    assert.deepEqual(await server.end(), { code: 0, signal: null })
  })

  test('the engine in it is the corrected one: the ninth device joins and reads', async () => {
    assert.equal((await node(['test/staged/user.ts'], installed)).stdout, '9 all nine are here\n')
    assert.deepEqual(await readdir(path.join(installed, 'node_modules/@messageu')), [
      'client',
      'e2ee',
      'protocol',
      'server',
    ])
    for (const inside of ['ts-mls', '@hpke', '@noble', '@scure'])
      assert.equal(statSync(path.join(installed, 'node_modules', inside), { throwIfNoEntry: false }), undefined)
  })

  test('its declarations are whole, for a browser too, with every library checked', async () => {
    writeFileSync(
      path.join(installed, 'browser.ts'),
      `import { MemoryStore, register } from '@messageu/client'
       import { verifyList } from '@messageu/e2ee'
       import { open, seal } from '@messageu/e2ee/conversation'
       import { encode } from '@messageu/protocol'
       import { encodeRequest } from '@messageu/protocol/v2'
       import { limits } from '@messageu/protocol/v3'
       export const all = [MemoryStore, register, verifyList, open, seal, encode, encodeRequest]
       export const size: number = limits.sealedBytesMax`,
    )
    writeFileSync(
      path.join(installed, 'server.ts'),
      `import { openProfile } from '@messageu/client/node'
       import { startServer } from '@messageu/server'
       import { readConfig } from '@messageu/server/settings'
       export const all = [openProfile, startServer, readConfig]`,
    )
    const typeRoots = [path.join(repository, 'node_modules/@types')]
    await compiles('browser', ['browser.ts'], { types: [], lib: ['es2024', 'esnext.disposable', 'webworker'] })
    await compiles('node', ['server.ts', 'test/staged/user.ts'], { types: ['node'], lib: ['esnext'], typeRoots })
    const wrong = `import { open } from '@messageu/e2ee/conversation'\nexport const one: string = open`
    writeFileSync(path.join(installed, 'wrong.ts'), wrong)
    await assert.rejects(compiles('wrong', ['wrong.ts'], { types: [], lib: ['es2024', 'webworker'] }), /TS2322/)
  })

  test('every library that is bundled is there with its licence, and none is a dependency', () => {
    const engine = ['ts-mls 1.6.4, with changes of ours', '@hpke/core', '@noble/curves', '@scure/bip39']
    for (const { name, dependencies, inside } of [
      { name: 'e2ee', dependencies: ['@messageu/protocol'], inside: [...engine, 'mlkem'] },
      { name: 'cli', dependencies: ['@messageu/server'], inside: ['commander', 'uqr', 'valibot', 'ws'] },
    ]) {
      const staged = packages.find((each) => path.basename(each) === name) ?? assert.fail()
      assert.deepEqual(Object.keys(manifestIn(staged).dependencies ?? {}), dependencies)
      const licences = readFileSync(path.join(staged, 'THIRD-PARTY-LICENSES'), 'utf8')
      for (const library of inside)
        assert.match(licences, new RegExp(`^${library}[^]*?Permission is hereby granted`, 'm'))
    }
  })

  test('only the program can be executed, and nothing published is TypeScript or a test', () => {
    for (const file of packages.flatMap((each) => globSync(`${each}/**/*`)).filter((each) => statSync(each).isFile())) {
      assert.doesNotMatch(path.relative(folder.path, file), /(?<!\.d)\.ts$|\btest\b/)
      if (process.platform !== 'win32')
        assert.equal((statSync(file).mode & 0o111) !== 0, file.endsWith('bin/messageu.js'), file)
    }
  })

  async function compiles(name: string, files: readonly string[], options: object): Promise<void> {
    const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true }
    const compilerOptions = {
      ...strict,
      target: 'es2024',
      module: 'nodenext',
      allowImportingTsExtensions: true,
      ...options,
    }
    const project = path.join(installed, `tsconfig.${name}.json`)
    writeFileSync(project, JSON.stringify({ compilerOptions, files }))
    const tsc = path.join(repository, 'node_modules/typescript/bin/tsc')
    await node([tsc, '-p', project], installed)
  }
})

test('declarations that nobody reaches go, and one that shows a bundled library stops the staging', async () => {
  await using folder = await temporaryFolder('memory')
  const write = (name: string, text: string): void => writeFileSync(folder.of(name), text)
  write('index.d.ts', `export { seal } from './seal.ts';\n`)
  write('seal.d.ts', `export declare function seal(): void;\n`)
  write('engine.d.ts', `import type { ClientState } from 'ts-mls';\nexport declare const state: ClientState;\n`)
  keepPublicDeclarations(folder.path, ['index'])
  assert.deepEqual((await readdir(folder.path)).sort(), ['index.d.ts', 'seal.d.ts'])
  for (const shown of [`import type { A } from 'ts-mls'`, `export declare const a: import("@hpke/core").A`]) {
    write('seal.d.ts', `${shown};\n`)
    assert.throws(() => keepPublicDeclarations(folder.path, ['index']), /seal\.d\.ts shows types of (?:ts-mls|@hpke)/)
  }
})

async function node(args: readonly string[], cwd: string): Promise<{ stdout: string }> {
  return told(execute(process.execPath, [...args], { cwd }))
}

async function npm(args: readonly string[], cwd: string): Promise<void> {
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
  await told(execute('npm', [...args, ...quiet], { cwd, shell: process.platform === 'win32' }))
}

/** A failure with what the program said of it. */
async function told<T>(running: Promise<T>): Promise<T> {
  return running.catch((error: Error & { stdout?: string; stderr?: string }) => {
    throw new Error(`${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`, { cause: error })
  })
}
