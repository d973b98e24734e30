import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import path from 'node:path'
import { bundlePiece, type Piece } from './bundle.ts'

const builtin = `(?:node:)?(?:${builtinModules.join('|')})`

/** In one piece: a command that lives for a tenth of a second would spend a third of it looking for its modules. */
export const program: Piece = {
  name: 'cli',
  entries: ['main'],
  outside: new RegExp(`^(?:@messageu/server(?:/.*)?|${builtin})$`),
  platform: 'node',
  files: [
    { name: 'start', tags: ['$initial'], test: (id) => !/[\\/]cli[\\/]src[\\/]main\.ts$/.test(id) },
    { name: 'account', test: /[\\/]cli[\\/]src[\\/](?:v3[\\/](?:context|saying)|text-input)\.ts$/ },
  ],
}

/** Writes the program to `folder` as it is published, with the server that is found from there. Returns what starts it. */
export async function writeProgram(folder: string): Promise<string> {
  await bundlePiece(program, path.join(folder, 'src'))
  for (const file of ['package.json', 'bin/messageu.js']) {
    const source = readFileSync(path.join('packages/cli', file), 'utf8')
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    writeFileSync(path.join(folder, file), source.replaceAll(/\.ts(?=["'])/g, '.js'))
  }
  return path.join(folder, 'bin/messageu.js')
}
