import type { TestEvent } from 'node:test/reporters'

/** A reporter of Node's test runner: the path of names of each test that has run, as a line of JSON. */
export default async function* names(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let path: readonly string[] = []
  for await (const { type, data } of events) {
    if (type === 'test:start') path = [...path.slice(0, data.nesting), data.name]
    if ((type === 'test:pass' || type === 'test:fail') && data.details.type !== 'suite')
      yield `${JSON.stringify(path)}\n`
  }
}
