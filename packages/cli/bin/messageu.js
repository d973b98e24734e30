#!/usr/bin/env node
// Plain JavaScript that Node 20 parses: it only finds a Node that can run the program, and starts it.
import { spawn } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import * as module from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const needed = { major: 24, minor: 15 }
const here = fileURLToPath(import.meta.url)

if (isNewEnough(process.versions.node)) {
  // the default folder is a shared temporary one, where another user could put code for us
  module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'messageu', 'compiled'))
  await import('../src/main.ts')
} else {
  const node = bundledNode(dirname(here))
  if (node === undefined) complain()
  else continueOn(node)
}

/** @param {string} version */
function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > needed.major || (major === needed.major && minor >= needed.minor)
}

/**
 * The Node that npm installed beside the program, looked for from `folder` upwards.
 *
 * @param {string} folder
 * @returns {string | undefined}
 */
function bundledNode(folder) {
  const candidate = join(folder, 'node_modules', '.bin', process.platform === 'win32' ? 'node.exe' : 'node')
  // a candidate that is this very Node would start itself for ever
  if (existsSync(candidate) && realpathSync(candidate) !== realpathSync(process.execPath)) return candidate
  const parent = dirname(folder)
  return parent === folder ? undefined : bundledNode(parent)
}

/** @param {string} node */
function continueOn(node) {
  const child = spawn(node, [here, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal))
  // a terminal sends Ctrl-C to both of us: passing it on would make it two
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT')
  })
  child.on('error', (error) => {
    process.stderr.write(`messageu: cannot start ${node}: ${error.message}\n`)
    process.exitCode = 1
  })
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code ?? 1
    } else {
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    }
  })
}

function complain() {
  process.stderr.write(
    `messageu: needs Node ${needed.major}.${needed.minor} or newer, but this is Node ${process.versions.node}\n` +
      'try: install it from https://nodejs.org, or run "npm ci" in a checkout, which brings it along on Linux and Windows\n',
  )
  process.exitCode = 1
}
