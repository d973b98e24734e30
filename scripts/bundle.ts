import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { type CodeSplittingGroup, type OutputChunk, type Plugin, rolldown } from 'rolldown'
import { builtinsByAsking, isAskedFor } from './builtins.ts'

/** What becomes one piece: its entries, below `src`, and the packages that stay outside. */
export interface Piece {
  readonly name: string
  readonly entries: readonly string[]
  readonly outside: RegExp
  readonly platform: 'node' | 'neutral'
  /** What lies in one file each, by name, together with everything that it imports and no other one has. */
  readonly files?: readonly CodeSplittingGroup[]
}

/**
 * What the libraries load for suites that we do not use, for Node before version 20, and to mask faster. None of it is
 * installed, and an import that leads nowhere would stop whoever bundles the package once more.
 */
const absent = [
  {
    importers: 'ts-mls|@hpke|mlkem',
    ids: ['@hpke/dhkem-x448', '@hpke/ml-kem', '@noble/post-quantum/ml-dsa.js', 'crypto'],
  },
  { importers: 'ws', ids: ['bufferutil'] },
]
const absentPrefix = '\0absent:'

const withoutAbsent: Plugin = {
  name: 'without-absent',
  resolveId: (id, importer = '') => (isAbsent(id, importer.replaceAll('\\', '/')) ? absentPrefix + id : null),
  load: (id) =>
    id.startsWith(absentPrefix)
      ? `throw new Error('${id.slice(absentPrefix.length)} is not part of this package')`
      : null,
}

function isAbsent(id: string, importer: string): boolean {
  return absent.some(
    ({ importers, ids }) => ids.includes(id) && new RegExp(`/node_modules/(?:${importers})/`).test(importer),
  )
}

/** A module of theirs that nobody uses is left out, as with the packages that say so themselves. */
const effectless = /[\\/]node_modules[\\/]ws[\\/]/

/**
 * A package with the libraries that it is made of, written to `folder`; returns the licences of those. State that two
 * entries share lies in a chunk of its own, once.
 */
export async function bundlePiece(
  { name, entries, outside, platform, files = [] }: Piece,
  folder: string,
): Promise<string> {
  const source = path.resolve('packages', name, 'src')
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map((entry) => [entry, path.join(source, `${entry}.ts`)])),
    external: (id, importer) => outside.test(id) && !(platform === 'node' && isAskedFor(id, importer)),
    platform,
    treeshake: { moduleSideEffects: [{ test: effectless, sideEffects: false }] },
    plugins: [withoutAbsent, ...(platform === 'node' ? [builtinsByAsking] : [])],
    onLog(_, log) {
      throw new Error(log.message)
    },
  })
  const { output } = await bundle.write({
    dir: folder,
    format: 'esm',
    cleanDir: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
    codeSplitting: { groups: [...files] },
    // names stay, for whoever reads the program or a trace of it; blanks and comments are read at each start
    minify: platform === 'node' && { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  })
  await bundle.close()
  const chunks = output.filter((each) => each.type === 'chunk')
  const names = chunks.map(({ fileName }) => fileName)
  for (const { fileName, imports, dynamicImports } of chunks)
    for (const target of [...imports, ...dynamicImports])
      if (!outside.test(target) && !names.includes(target)) throw new Error(`${fileName} still imports ${target}`)
  return licencesOf(chunks)
}

function licencesOf(chunks: readonly OutputChunk[]): string {
  const folders = new Set(chunks.flatMap(({ moduleIds }) => moduleIds).flatMap((id) => packageFolder(id) ?? []))
  const texts = [...folders].map((folder) => {
    const { name, version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as {
      name: string
      version: string
    }
    const file = ['LICENSE', 'LICENSE.md', 'LICENCE'].map((each) => path.join(folder, each)).find(existsSync)
    if (file === undefined) throw new Error(`${name} comes without the text of its licence`)
    const changed = existsSync(`patches/${name.replace('/', '+')}+${version}.patch`) ? ', with changes of ours' : ''
    return `${name} ${version}${changed}\n\n${readFileSync(file, 'utf8').trim()}\n`
  })
  return texts.sort().join(`\n${'─'.repeat(80)}\n\n`)
}

function packageFolder(module: string): string | undefined {
  return /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module.replaceAll('\\', '/'))?.[0]
}
