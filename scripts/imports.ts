/**
 * The directions in which packages may depend on each other (STYLE: cli, web → client → e2ee → protocol ← server), and
 * who may know what inside the server. Undeclared dependencies are the linter's business.
 */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'

const allowed: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  server: ['@messageu/protocol'],
  e2ee: ['@messageu/protocol'],
  client: ['@messageu/protocol', '@messageu/e2ee'],
  cli: ['@messageu/protocol', '@messageu/e2ee', '@messageu/client', '@messageu/server'],
  web: ['@messageu/protocol', '@messageu/e2ee', '@messageu/client'],
}

const problems: string[] = []

for (const manifest of globSync('packages/*/package.json')) {
  const folder = path.dirname(manifest)
  const name = path.basename(folder)
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8')) as Record<
    'dependencies' | 'devDependencies',
    Record<string, string> | undefined
  >
  for (const dependency of Object.keys({ ...dependencies, ...devDependencies }))
    if (dependency.startsWith('@messageu/') && !allowed[name]?.includes(dependency))
      problems.push(`${manifest}: ${name} must not depend on ${dependency}`)
  for (const file of globSync(`${folder}/src/**/*.ts`)) check(file, folder)
}

function check(file: string, folder: string): void {
  const source = readFileSync(file, 'utf8')
  for (const [, target = ''] of source.matchAll(/(?:from|import\(|resolve\()\s*['"]([^'"]+)['"]/g)) {
    const relative = target.startsWith('.') ? path.join(path.dirname(file), target) : undefined
    if (relative !== undefined && !relative.startsWith(`${folder}${path.sep}`))
      problems.push(`${file}: ${target} leaves the package`)
    if (/^packages\/(?:client|e2ee)\/src\/(?!node\/)/.test(file) && target.includes('/node/'))
      problems.push(`${file}: ${target} is not for browsers`)
    if (/packages\/e2ee\/src\/(?!conversation\/)/.test(file) && /^ts-mls(?:\/|$)/.test(target))
      problems.push(`${file}: only src/conversation names the engine`)
    const operation = /\/operations\//.test(file)
    if (operation && /\/storage\/(?:sqlite|memory|postgres)/.test(target))
      problems.push(`${file}: an operation sees storage.ts only, not ${target}`)
    const everywhere =
      /packages\/(?:protocol|e2ee|client)\//.test(file) && !/^packages\/(?:e2ee|client)\/src\/node\//.test(file)
    if (everywhere && (target.startsWith('node:') || target === 'ws'))
      problems.push(`${file}: ${target} is not there in a browser`)
  }
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
