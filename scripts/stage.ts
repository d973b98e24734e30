/**
 * Writes what is published: `node scripts/stage.ts [FOLDER]` makes FOLDER/PACKAGE (default: dist/PACKAGE) of JavaScript,
 * declarations and a manifest for each package, and has publint look at it.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Message, publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { bundleE2ee } from './bundle.ts'
import { keepPublicDeclarations } from './declarations.ts'

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly bin?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

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
  const published = name === 'e2ee' ? bundled(manifest) : manifest
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(publishable(published), null, 2)}\n`)
  copyFileSync('LICENSE', path.join(folder, 'LICENSE'))
  for (const program of Object.values(manifest.bin ?? {})) chmodSync(path.join(folder, program), 0o755)
}

const e2ee = path.join(out, 'e2ee')
for (const file of globSync('**/*.js', { cwd: e2ee })) rmSync(path.join(e2ee, file)) // one file each, and unbundled
const { entries, licences } = await bundleE2ee(path.join(e2ee, 'src'))
writeFileSync(path.join(e2ee, 'THIRD-PARTY-LICENSES'), licences)
keepPublicDeclarations(path.join(e2ee, 'src'), entries)

const problems = (await Promise.all(packages.map(lint))).flat()
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log(`${packages.map((name) => path.join(out, name)).join('\n')}`)

function publishable({ private: _, devDependencies: __, ...manifest }: Manifest): object {
  const files = manifest.bin === undefined ? ['src'] : ['bin/*.js', 'src/**/*.js'] // a program has no declarations
  if (manifest.name === '@messageu/e2ee') files.push('THIRD-PARTY-LICENSES')
  return { ...manifest, engines: { node: '>=24.15' }, files }
}

/** What is bundled is no dependency any more. */
function bundled(manifest: Manifest): Manifest {
  const ours = Object.entries(manifest.dependencies ?? {}).filter(([name]) => name.startsWith('@messageu/'))
  return { ...manifest, dependencies: Object.fromEntries(ours) }
}

async function lint(name: string): Promise<string[]> {
  const { messages, pkg } = await publint({ pkgDir: path.join(out, name), strict: true })
  return messages.map((message: Message) => `${name}: ${formatMessage(message, pkg) ?? message.code}`)
}
