/** What stands for `node:test` in a browser: the part of it that the tests of this package use, and no more. */

type Body = () => unknown

interface Registered {
  /** The names of the suites around it, then its own. */
  readonly path: readonly string[]
  readonly body: Body
}

export interface BrowserResult {
  readonly path: readonly string[]
  /** What went wrong; nothing if the test passed. */
  readonly failure?: string
}

const registered: Registered[] = []
let suites: readonly string[] = []

export function test(name: string, body: Body): void {
  registered.push({ path: [...suites, name], body })
}

export function describe(name: string, body: () => void): void {
  const around = suites
  suites = [...around, name]
  body()
  suites = around
}

/** Runs everything that was registered, one after the other. */
export async function runRegistered(): Promise<BrowserResult[]> {
  const results: BrowserResult[] = []
  for (const { path, body } of registered) results.push({ path, ...(await outcomeOf(body)) })
  return results
}

async function outcomeOf(body: Body): Promise<{ failure?: string }> {
  try {
    await body()
    return {}
  } catch (error) {
    return { failure: error instanceof Error ? `${error.message}\n${error.stack}` : `thrown: ${error}` }
  }
}
