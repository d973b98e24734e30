/**
 * Writes what is published: `node scripts/stage.ts [FOLDER]` makes FOLDER/PACKAGE (default: dist/PACKAGE) of JavaScript,
 * declarations and a manifest for each package, and has publint look at it.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Message, publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { bundlePiece, type Piece } from './bundle.ts'
import { keepPublicDeclarations } from './declarations.ts'
import { program } from './program.ts'

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly bin?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

/** What is published in one piece: the program, and the engine, because its corrections do not travel with a dependency. */
const pieces: readonly Piece[] = [
  {
    name: 'e2ee',
    entries: ['index', 'conversation/index', 'primitives', 'node/primitives'],
    outside: /^(?:@messageu\/.*|#primitives|node:crypto)$/,
    platform: 'neutral',
  },
  program,
]

const licences = 'THIRD-PARTY-LICENSES'

const [out = 'dist'] = process.argv.slice(2)
const packages = globSync('packages/*/package.json').map((manifest) => path.basename(path.dirname(manifest)))

for (const name of packages) rmSync(path.join(out, name), { recursive: true, force: true })
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', out]
if (spawnSync(process.execPath, tsc, { stdio: 'inherit' }).status !== 0) process.exit(1)

for (const name of packages) {
  const folder = path.join(out, name)
  mkdirSync(folder, { recursive: true })
  const source = readFileSync(path.join('packages', name, 'package.json'), 'utf8')
  const manifest = JSON.parse(source.replaceAll('.ts"', '.js"')) as Manifest
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(publishable(name, manifest), null, 2)}\n`)
  copyFileSync('LICENSE', path.join(folder, 'LICENSE'))
  for (const file of Object.values(manifest.bin ?? {})) chmodSync(path.join(folder, file), 0o755)
}

for (const piece of pieces) {
  const folder = path.join(out, piece.name)
  for (const file of globSync('src/**/*.js', { cwd: folder })) rmSync(path.join(folder, file)) // one each, unbundled
  writeFileSync(path.join(folder, licences), await bundlePiece(piece, path.join(folder, 'src')))
}
keepPublicDeclarations(path.join(out, 'e2ee', 'src'), ['index', 'conversation/index'])
for (const file of globSync('cli/**/*.d.ts', { cwd: out })) rmSync(path.join(out, file)) // a program is not imported

const problems = (await Promise.all(packages.map(lint))).flat()
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log(`${packages.map((name) => path.join(out, name)).join('\n')}`)

function publishable(name: string, { private: _, devDependencies: __, ...manifest }: Manifest): object {
  const piece = pieces.find((each) => each.name === name)
  const files = ['src', ...(manifest.bin === undefined ? [] : ['bin']), ...(piece === undefined ? [] : [licences])]
  // what is inside is no dependency any more
  const needed = Object.entries(manifest.dependencies ?? {}).filter(([each]) => piece?.outside.test(each) ?? true)
  return { ...manifest, dependencies: Object.fromEntries(needed), engines: { node: '>=24.15' }, files }
}

async function lint(name: string): Promise<string[]> {
  const { messages, pkg } = await publint({ pkgDir: path.join(out, name), strict: true })
  return messages.map((message: Message) => `${name}: ${formatMessage(message, pkg) ?? message.code}`)
}
