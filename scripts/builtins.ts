import { builtinModules } from 'node:module'
import type { Plugin } from 'rolldown'

/** Libraries whose calls of `require` lie in the bundle, and what of Node they name at once and seldom use. */
const libraries: Readonly<Record<string, readonly string[]>> = {
  commander: ['child_process'],
  ws: ['http', 'https', 'tls', 'zlib'],
}
/** What `ws` asks for and does without: Node 24 has none of it, and a whole module would be loaded to say so. */
const dispensable: Readonly<Record<string, readonly string[]>> = { http: ['websocketMask', 'websocketUnmask'] }
const prefix = '\0builtin:'

/**
 * Node's own modules as `process.getBuiltinModule` hands them out. To `import` one, or to `require` it from a module, makes
 * Node read everything that it exports, and much of that loads further modules: of a command that lives for a tenth of a
 * second it was a tenth. What a library names and seldom uses is loaded when it is used.
 */
export const builtinsByAsking: Plugin = {
  name: 'builtins-by-asking',
  resolveId: (id, importer) => (isAskedFor(id, importer) ? prefix + bare(id) : null),
  load(id) {
    if (!id.startsWith(prefix)) return null
    const name = id.slice(prefix.length)
    const asked = `globalThis.process.getBuiltinModule('node:${name}')`
    if (!Object.values(libraries).flat().includes(name)) return `module.exports = ${asked}`
    const without = JSON.stringify(dispensable[name] ?? [])
    return `module.exports = new Proxy({}, { get: (_, each) => (${without}.includes(each) ? undefined : ${asked}[each]) })`
  },
  renderChunk(code) {
    const asking = code
      .replaceAll(/^import (?:\* as )?([\w$]+) from "node:([\w/]+)";$/gm, (_, name: string, id: string) =>
        declared(name, id),
      )
      .replaceAll(/^import \{ ([^}]+) \} from "node:([\w/]+)";$/gm, (_, names: string, id: string) =>
        declared(`{ ${names.replaceAll(' as ', ': ')} }`, id),
      )
    const left = /^import .*"node:.*$/m.exec(asking)
    if (left !== null) throw new Error(`not understood: ${left[0]}`)
    return asking
  },
}

/** Whether a library asks for what it gets in the bundle: everything that is required, and what is seldom used. */
export function isAskedFor(id: string, importer = ''): boolean {
  const library = /\/node_modules\/([^/]+)\//.exec(importer.replaceAll('\\', '/'))?.[1] ?? ''
  if (!builtinModules.includes(bare(id))) return false
  return library === 'ws' || (libraries[library]?.includes(bare(id)) ?? false)
}

/** In front of everything else, as imports are. */
function declared(names: string, id: string): string {
  return `const ${names} = globalThis.process.getBuiltinModule("node:${id}");`
}

function bare(id: string): string {
  return id.replace(/^node:/, '')
}
