/** The whole suite of `e2ee` once more, in the system's Chromium: what runs in Node has to run there, test by test. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium } from 'playwright-core'
import { rolldown } from 'rolldown'
import type { BrowserResult } from '../packages/e2ee/test/browser/node-test.ts'

const folder = fileURLToPath(new URL('../packages/e2ee/test/', import.meta.url))
const runner = fileURLToPath(new URL('../packages/e2ee/test/browser/node-test.ts', import.meta.url))
const standIns: Readonly<Record<string, string>> = {
  'node:test': runner,
  'node:assert/strict': fileURLToPath(new URL('../packages/e2ee/test/browser/node-assert.ts', import.meta.url)),
}
const failing = fileURLToPath(new URL('../packages/e2ee/test/browser/failing.fixture.ts', import.meta.url))
/** Everything here may take its time on a machine that does a lot else. */
const patienceMs = 120_000
/** A name in `*.node.test.ts` is a test of something that only Node has; it says what at its top. */
const files = globSync('**/*.test.ts', { cwd: folder, exclude: ['**/*.node.test.ts'] })
  .sort()
  .map((file) => path.join(folder, file))

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

let browser: Browser
before(async () => {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  browser = await chromium.launch({ executablePath, args: flags, timeout: patienceMs })
})
after(() => browser.close())

test('every test of e2ee that runs in Node runs in Chromium and passes', async (t) => {
  const inNode = await namesInNode(files)
  assert.ok(inNode.length > 0)
  const inChromium = await runInChromium(files)
  for (const { path, failure } of inChromium)
    await t.test(path.join(' › '), () => assert.equal(failure, undefined, failure))
  assert.deepEqual(
    inChromium.map(({ path }) => path),
    inNode,
  )
})

describe('the runner in the browser', () => {
  test('notices every way to fail, and tells which test it was', async () => {
    const results = await runInChromium([failing])
    const said = Object.fromEntries(results.map(({ path, failure }) => [path.join(' › '), failure?.split('\n')[0]]))
    assert.deepEqual(said, {
      holds: undefined,
      'is wrong at once': '1 is not 2',
      'inside › is wrong later': '[{"0":1}] is not [{"0":2}]',
      'inside › waits in vain for an error': 'the promise was kept',
      'inside › gets another error': 'undefined is not "bad-list"',
      'inside › throws what is no error': 'thrown: a text',
    })
  })

  test('does not take a suite that cannot be loaded for one without tests', async () => {
    await assert.rejects(runInChromium([path.join(folder, 'no-such.test.ts')]))
  })
})

/**
 * The names of the tests, each behind those of the suites around it, as Node's own runner comes by them. They are not
 * run for that: whether they pass there, `npm test` tells by itself.
 */
async function namesInNode(wanted: readonly string[]): Promise<unknown[]> {
  const reporter = new URL('../packages/e2ee/test/browser/names-reporter.ts', import.meta.url)
  const hooks = new URL('../packages/e2ee/test/browser/names-only.ts', import.meta.url)
  const { NODE_TEST_CONTEXT: _, ...env } = process.env // without it the runner takes itself for a part of this one
  const options = ['--test', '--test-concurrency=1', `--test-reporter=${reporter}`, `--import=${hooks}`]
  const child = spawn(process.execPath, [...options, ...wanted], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const [printed] = await Promise.all([text(child.stdout), once(child, 'close')])
  return printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
}

async function runInChromium(wanted: readonly string[]): Promise<BrowserResult[]> {
  const suite = await bundle(wanted)
  await using server = createServer((request, response) => {
    const isSuite = request.url === '/suite.js'
    response.setHeader('content-type', isSuite ? 'text/javascript' : 'text/html')
    response.end(isSuite ? suite : '<!doctype html><title>e2ee</title>')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  await using page = await browser.newPage()
  page.setDefaultTimeout(patienceMs)
  await page.goto(`http://127.0.0.1:${address.port}/`)
  return await page.evaluate<BrowserResult[]>("import('/suite.js').then((suite) => suite.runRegistered())")
}

/** One module that registers the tests of all `wanted` files and exports `runRegistered`. */
async function bundle(wanted: readonly string[]): Promise<string> {
  const entry = 'every-test'
  const lines = [...wanted, runner].map((file) => `import ${JSON.stringify(file)}`)
  await using build = await rolldown({
    input: entry,
    platform: 'browser',
    external: ['node:fs'], // never loaded: golden/make.ts writes the vectors with it when it is run as a program
    plugins: [
      {
        name: 'stand-ins',
        resolveId: (id) => (id === entry ? id : standIns[id]),
        load: (id) =>
          id === entry ? `${lines.join('\n')}\nexport { runRegistered } from ${JSON.stringify(runner)}` : undefined,
      },
    ],
  })
  const { output } = await build.generate({ format: 'esm', codeSplitting: false })
  return output[0].code
}
