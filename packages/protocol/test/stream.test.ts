import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Cutter, type CutterEvents } from '../src/stream.ts'

/** What a stream is made of: heads, each with the content behind it. */
type Script = readonly { readonly head: number; readonly content: number }[]

const headMax = 9
const script: fc.Arbitrary<Script> = fc.array(
  fc.record({ head: fc.integer({ min: 1, max: headMax }), content: fc.integer({ min: 0, max: 30 }) }),
  { minLength: 1, maxLength: 6 },
)

function sizeOf(parts: Script): number {
  return parts.reduce((sum, { head, content }) => sum + head + content, 0)
}

/** A cutter that follows `parts`, and what it told; the pieces of one content are joined. */
function record(parts: Script): { cutter: Cutter; told: string[] } {
  const told: string[] = []
  let seen = 0
  let content = ''
  const cutter = new Cutter(parts[0]?.head ?? 1, {
    onHead(head) {
      told.push(`head ${Buffer.from(head).toString('hex')}`)
      const part = parts[seen++]
      return { content: part?.content ?? 0, head: parts[seen]?.head ?? 0 }
    },
    onContent(piece) {
      content += Buffer.from(piece).toString('hex')
    },
    onContentEnd() {
      told.push(`content ${content}`)
      content = ''
    },
    onEnd() {
      told.push('end')
    },
  })
  return { cutter, told }
}

function cut(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let at = 0
  for (const size of sizes) {
    pieces.push(stream.subarray(at, at + size))
    at += size
  }
  return [...pieces, stream.subarray(at)]
}

test('W08: however a stream is cut, its heads and contents are the same, and what stands behind its end is left', () => {
  const behind = fc.uint8Array({ maxLength: 20 })
  const sizes = fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 40 })
  fc.assert(
    fc.property(script, behind, sizes, fc.infiniteStream(fc.nat(255)), (parts, after, cuts, bytes) => {
      const own = Uint8Array.from({ length: sizeOf(parts) }, () => bytes.next().value as number)
      const stream = Uint8Array.from([...own, ...after])
      const whole = record(parts)
      assert.equal(whole.cutter.push(stream), own.length)
      assert.equal(whole.told.at(-1), 'end')
      for (const pieces of [cut(stream, cuts), cut(stream, Array(stream.length).fill(1))]) {
        const { cutter, told } = record(parts)
        const used = pieces.reduce((sum, piece) => sum + cutter.push(piece), 0)
        assert.equal(used, own.length)
        assert.deepEqual(told, whole.told)
        assert.equal(cutter.ended, true)
      }
    }),
  )
})

test('a stream may end between two heads and nowhere else', () => {
  const parts: Script = [
    { head: 2, content: 3 },
    { head: 1, content: 0 },
    { head: 2, content: 1 },
  ]
  const { cutter } = record(parts)
  const boundaries = [cutter.atBoundary]
  for (let i = 0; i < sizeOf(parts); i++) {
    cutter.push(Uint8Array.of(i))
    boundaries.push(cutter.atBoundary)
  }
  const at = boundaries.flatMap((isBoundary, offset) => (isBoundary ? [offset] : []))
  assert.deepEqual(at, [0, 5, 6, 9])
})

test('a content is passed on as views of what was pushed, without a copy', () => {
  const chunk = new Uint8Array(100)
  const views: Uint8Array[] = []
  const cutter = new Cutter(1, {
    onHead: () => ({ content: 150, head: 0 }),
    onContent: (piece) => views.push(piece),
  })
  cutter.push(chunk)
  cutter.push(chunk)
  assert.deepEqual(
    views.map((view) => [view.buffer === chunk.buffer, view.length]),
    [
      [true, 99],
      [true, 51],
    ],
  )
})

describe('after an event that', () => {
  const names = ['onHead', 'onContent', 'onContentEnd', 'onEnd'] as const

  /** A stream of one head of 2 bytes and a content of `content`, in which `last` does what `act` does. */
  function upTo(last: (typeof names)[number], content: number, act: (cutter: Cutter) => void) {
    const told: string[] = []
    const tell = (name: (typeof names)[number]): void => {
      told.push(name)
      if (name === last) act(cutter)
    }
    const events: CutterEvents = {
      onHead() {
        tell('onHead')
        return { content, head: 0 }
      },
      onContent: () => tell('onContent'),
      onContentEnd: () => tell('onContentEnd'),
      onEnd: () => tell('onEnd'),
    }
    const cutter = new Cutter(2, events)
    return { cutter, told }
  }

  for (const last of names)
    for (const content of last === 'onContent' ? [3] : [0, 3]) {
      const expected = names.slice(0, names.indexOf(last) + 1).filter((name) => name !== 'onContent' || content > 0)

      test(`throws (${last}, ${content} bytes of content) nothing more is told, and the stream has not ended`, () => {
        const { cutter, told } = upTo(last, content, () => {
          throw new Error(last)
        })
        assert.throws(() => cutter.push(new Uint8Array(20)), { message: last })
        assert.equal(cutter.push(new Uint8Array(20)), 0)
        assert.deepEqual([told, cutter.ended, cutter.atBoundary], [expected, false, false])
      })

      test(`stops the stream (${last}, ${content} bytes of content) nothing more is told, and it has not ended`, () => {
        const { cutter, told } = upTo(last, content, (stopped) => stopped.stop())
        cutter.push(new Uint8Array(20))
        assert.equal(cutter.push(new Uint8Array(20)), 0)
        assert.deepEqual([told, cutter.ended, cutter.atBoundary], [expected, false, false])
      })
    }
})
