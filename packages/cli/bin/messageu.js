#!/usr/bin/env node
// Plain JavaScript that Node 20 parses: it only finds a Node that can run the program, and starts it.
const needed = { major: 24, minor: 15 }

if (isNewEnough(process.versions.node)) {
  // `import` would look through everything that these modules export, which takes longer than all that is done here
  const { enableCompileCache } = process.getBuiltinModule('node:module')
  const { homedir } = process.getBuiltinModule('node:os')
  const { join } = process.getBuiltinModule('node:path')
  // the default folder is a shared temporary one, where another user could put code for us
  enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'messageu', 'compiled'))
  await import('../src/main.ts')
} else {
  const here = (await import('node:url')).fileURLToPath(import.meta.url)
  const node = await bundledNode(here)
  if (node === undefined) complain()
  else await continueOn(node, here)
}

/** @param {string} version */
function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > needed.major || (major === needed.major && minor >= needed.minor)
}

/**
 * The Node that npm installed beside the program, looked for from its folder upwards.
 *
 * @param {string} program
 * @returns {Promise<string | undefined>}
 */
async function bundledNode(program) {
  const { existsSync, realpathSync } = await import('node:fs')
  const { dirname, join } = await import('node:path')
  for (let at = program; dirname(at) !== at; at = dirname(at)) {
    const name = process.platform === 'win32' ? 'node.exe' : 'node'
    const candidate = join(dirname(at), 'node_modules', '.bin', name)
    // a candidate that is this very Node would start itself for ever
    if (existsSync(candidate) && realpathSync(candidate) !== realpathSync(process.execPath)) return candidate
  }
  return undefined
}

/**
 * @param {string} node
 * @param {string} program
 */
async function continueOn(node, program) {
  const { spawn } = await import('node:child_process')
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: 'inherit' })
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
