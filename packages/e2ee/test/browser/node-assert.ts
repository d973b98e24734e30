/** What stands for `node:assert/strict` in a browser: the part of it that the tests of this package use, and no more. */

type Expected = RegExp | ((error: unknown) => boolean) | Readonly<Record<string, unknown>>

function fail(what: string, message?: string): never {
  throw new Error(message === undefined ? what : `${message}: ${what}`)
}

function ok(value: unknown, message?: string): asserts value {
  if (!value) fail(`${show(value)} is not true`, message)
}

function equal(actual: unknown, expected: unknown, message?: string): void {
  if (!Object.is(actual, expected)) fail(`${show(actual)} is not ${show(expected)}`, message)
}

function deepEqual(actual: unknown, expected: unknown, message?: string): void {
  if (!isSame(actual, expected)) fail(`${show(actual)} is not ${show(expected)}`, message)
}

function notDeepEqual(actual: unknown, expected: unknown, message?: string): void {
  if (isSame(actual, expected)) fail(`both are ${show(actual)}`, message)
}

function notEqual(actual: unknown, expected: unknown, message?: string): void {
  if (Object.is(actual, expected)) fail(`both are ${show(actual)}`, message)
}

function match(text: string, pattern: RegExp, message?: string): void {
  if (!pattern.test(text)) fail(`${show(text)} does not match ${pattern}`, message)
}

function doesNotMatch(text: string, pattern: RegExp, message?: string): void {
  if (pattern.test(text)) fail(`${show(text)} matches ${pattern}`, message)
}

function throws(body: () => unknown, expected?: Expected, message?: string): void {
  try {
    body()
  } catch (error) {
    expectError(error, expected, message)
    return
  }
  fail('nothing was thrown', message)
}

async function rejects(body: Promise<unknown>, expected?: Expected, message?: string): Promise<void> {
  try {
    await body
  } catch (error) {
    expectError(error, expected, message)
    return
  }
  fail('the promise was kept', message)
}

export default { ok, equal, notEqual, deepEqual, notDeepEqual, match, doesNotMatch, throws, rejects }

function expectError(error: unknown, expected: Expected | undefined, message?: string): void {
  if (expected === undefined) return
  if (expected instanceof RegExp) match(String(error), expected, message)
  else if (typeof expected === 'function') equal(expected(error), true, message)
  else if (isObject(error)) expectProperties(error, expected, message)
  else fail(`${show(error)} is not an object`, message)
}

function expectProperties(
  error: Record<string, unknown>,
  expected: Readonly<Record<string, unknown>>,
  message?: string,
): void {
  for (const [key, value] of Object.entries(expected)) {
    const actual = error[key]
    if (value instanceof RegExp && typeof actual === 'string') match(actual, value, message)
    else deepEqual(actual, value, message)
  }
}

/** As `deepStrictEqual` has it, for the kinds of values that are compared here; another kind stops the test. */
function isSame(one: unknown, other: unknown): boolean {
  if (!isObject(one) || !isObject(other)) return Object.is(one, other)
  const prototype = Object.getPrototypeOf(one)
  if (prototype !== Object.getPrototypeOf(other)) return false
  if (![Object.prototype, Array.prototype, Uint8Array.prototype, null].includes(prototype))
    fail(`two of ${prototype.constructor.name} cannot be compared here`)
  const keys = Object.keys(one)
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && isSame(one[key], other[key]))
  )
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function show(value: unknown): string {
  return value instanceof Uint8Array ? `bytes ${value.join(' ')}` : (JSON.stringify(value) ?? String(value))
}
