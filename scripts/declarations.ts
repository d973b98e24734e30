import { globSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'

/**
 * Leaves in `folder` the declarations that its entries lead to and no others. Throws if one of them names a package that
 * whoever installs ours does not have: what is bundled must not show.
 */
export function keepPublicDeclarations(folder: string, entries: readonly string[]): void {
  const reached = new Set<string>()
  for (const entry of entries) follow(path.join(folder, `${entry}.d.ts`), reached)
  for (const file of globSync('**/*.d.ts', { cwd: folder }).map((each) => path.join(folder, each)))
    if (!reached.has(file)) rmSync(file)
}

function follow(file: string, reached: Set<string>): void {
  if (reached.has(file)) return
  reached.add(file)
  for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(/(?:from|import\(|import)\s*['"]([^'"]+)['"]/g)) {
    if (target.startsWith('.')) follow(path.join(path.dirname(file), target.replace(/\.[jt]s$/, '.d.ts')), reached)
    else if (!target.startsWith('@messageu/')) throw new Error(`${file} shows types of ${target}`)
  }
}
