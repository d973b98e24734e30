import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { limits } from '@messageu/protocol/v3'
import { nodeTransport } from '../../src/node/transport.ts'
import type { Channel } from '../../src/transport.ts'
import { hearing, linkTo } from './channel-ends.ts'
import { rawServer } from './raw-server.ts'

const never = new AbortController().signal

/** A channel whose server is in the hands of the test, and what its owner does about each message. */
async function opened(react: (channel: Channel) => void = () => {}) {
  const server = await rawServer(({ socket, agreement }) => socket.write(agreement()))
  const events = hearing()
  const message = (each: Uint8Array): void => {
    events.message(each)
    react(channel)
  }
  const channel = await nodeTransport().open(linkTo(server.port), { ...events, message }, { signal: never })
  const { socket, bytes, gone } = await server.caller
  return { channel, events, socket, bytes, gone, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** A frame as RFC 6455 §5.2 draws it, with whatever first byte. */
function frame(first: number, payload: Uint8Array = Buffer.alloc(0), length = payload.length): Buffer {
  const size = length < 126 ? Buffer.of(length) : Buffer.alloc(9, 127)
  if (length >= 126) size.writeBigUInt64BE(BigInt(length), 1)
  return Buffer.concat([Uint8Array.of(first), size, payload])
}

const fin = 0x80
const [more, text, binary, close, ping, pong] = [0, 1, 2, 8, 9, 10] as const

interface Sent {
  readonly first: number
  readonly payload: Buffer
  readonly mask: string
}

/** The frames that a client has sent; fails unless each of them is masked. */
function sent(bytes: Buffer): Sent[] {
  const frames: Sent[] = []
  for (let rest = bytes; rest.length > 0; ) {
    const [first = 0, second = 0] = rest
    assert.equal(second & 0x80, 0x80, 'a client masks')
    const short = second & 0x7f
    const wide = short === 127 ? 8 : short === 126 ? 2 : 0
    const length = wide === 0 ? short : rest.readUIntBE(wide === 8 ? 4 : 2, wide === 8 ? 6 : 2)
    const mask = rest.subarray(2 + wide, 6 + wide)
    const payload = rest.subarray(6 + wide, 6 + wide + length)
    const plain = Buffer.from(payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0)))
    frames.push({ first, payload: plain, mask: mask.toString('hex') })
    rest = rest.subarray(6 + wide + length)
  }
  return frames
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn()
}

describe('S13: a server that breaks RFC 6455', () => {
  const broken: Readonly<Record<string, [why: RegExp, bytes: Buffer]>> = {
    'by masking': [/MASK/, Buffer.of(fin | binary, 0x80 | 1, 1, 2, 3, 4, 5)],
    'by a bit of an extension': [/RSV1/, frame(fin | 0x40 | binary, Buffer.of(1))],
    'by a reserved bit': [/RSV2/, frame(fin | 0x20 | binary, Buffer.of(1))],
    'by a frame of no kind': [/opcode/, frame(fin | 3, Buffer.of(1))],
    'by the end of a message that has not begun': [/opcode/, frame(fin | more, Buffer.of(1))],
    'by a message within another one': [/opcode/, Buffer.concat([frame(binary, Buffer.of(1)), frame(fin | binary)])],
    'by a ping in pieces': [/FIN/, frame(ping)],
    'by a long ping': [/length/, frame(fin | ping, Buffer.alloc(126))],
    'by half a reason to close': [/length/, frame(fin | close, Buffer.of(3))],
    'by a reason to close that nobody may give': [/status code/, frame(fin | close, Buffer.of(0x03, 0xed))],
    'by a second answer': [/frame/, Buffer.from('HTTP/1.1 200 OK\r\n\r\n')],
    'by announcing more than a message may have': [/size/, frame(fin | binary, undefined, limits.frameBytesMax + 1)],
    'by announcing more than there is': [/length/, frame(fin | binary, undefined, 2 ** 53)],
    'by pieces that become more than a message may have': [
      /size/,
      Buffer.concat([frame(binary, Buffer.of(1)), frame(more, undefined, limits.frameBytesMax)]),
    ],
    'by pieces without an end': [
      /fragments/,
      Buffer.concat([frame(binary), ...Array.from({ length: 16 * 1024 }, () => frame(more))]),
    ],
  }
  for (const [how, [message, bytes]] of Object.entries(broken))
    test(`${how} is told so, and left at once`, async () => {
      await using it = await opened()
      it.socket.write(Buffer.concat([frame(fin | binary, Buffer.of(7)), bytes, frame(fin | binary, Buffer.of(8))]))
      const why = await it.events.end
      assert.equal(why.reason, 'bad-answer')
      assert.match(why.message, message)
      await it.gone
      assert.deepEqual(it.events.messages, [Uint8Array.of(7)])
      assert.deepEqual(
        sent(it.bytes()).map(({ first, payload }) => [first, payload]),
        [[fin | close, Buffer.of(0x03, 0xea)]],
      )
    })

  test('by text is told so, and nothing that comes behind it is heard', async () => {
    await using it = await opened()
    it.socket.write(Buffer.concat([frame(fin | text, Buffer.from('hi')), frame(fin | binary, Buffer.of(8))]))
    assert.equal((await it.events.end).reason, 'bad-answer')
    await it.gone
    assert.deepEqual(it.events.messages, [])
    assert.deepEqual(
      sent(it.bytes()).map(({ payload }) => payload),
      [Buffer.of(0x03, 0xeb)],
    )
  })
})

describe('a channel', () => {
  test('S13: keeps no message that comes in crumbs without an end', async () => {
    await using it = await opened()
    const isOver = overIn(it.events.end)
    it.socket.write(frame(fin | binary, undefined, limits.frameBytesMax))
    for (let crumb = 0; crumb < 40_000 && !isOver(); crumb += 1) {
      it.socket.write(Uint8Array.of(0))
      await nextTurn()
    }
    assert.equal(isOver(), true)
    assert.match((await it.events.end).message, /chunks/)
    await it.gone
  })

  test('joins the pieces of a message, whatever control frames are between them', async () => {
    await using it = await opened()
    const pieces = [
      frame(binary, Buffer.of(1)),
      frame(fin | pong),
      frame(more),
      frame(fin | ping),
      frame(fin | more, Buffer.of(2)),
    ]
    it.socket.write(Buffer.concat(pieces))
    await until(() => it.events.messages.length > 0)
    assert.deepEqual(it.events.messages, [Uint8Array.of(1, 2)])
    it.channel.close()
  })

  test('takes the longest message that there is, and what comes behind it', async () => {
    await using it = await opened()
    const longest = Buffer.alloc(limits.frameBytesMax, 5)
    it.socket.write(Buffer.concat([frame(fin | binary, longest), frame(fin | binary, Buffer.of(1))]))
    await until(() => it.events.messages.length === 2)
    assert.ok(longest.equals(it.events.messages[0] ?? Buffer.alloc(0)))
    it.channel.close()
  })

  test('sends each message in one masked frame, and changes nothing of what it was given', async () => {
    await using it = await opened()
    const messages = [1, 125, 126, 65_535, 65_536].map((length) => new Uint8Array(length).fill(9))
    for (const message of messages) it.channel.send(message)
    const bytes = messages.reduce((sum, { length }) => sum + length, 0) + 2 * 6 + 2 * 8 + 14
    await until(() => it.bytes().length >= bytes)
    const frames = sent(it.bytes())
    assert.deepEqual(
      frames.map(({ first }) => first),
      messages.map(() => fin | binary),
    )
    assert.ok(frames.every(({ payload }, at) => payload.equals(messages[at] ?? Buffer.alloc(0))))
    assert.equal(new Set(frames.map(({ mask }) => mask)).size, messages.length)
    assert.ok(messages.every((message) => message.every((byte) => byte === 9)))
    it.channel.close()
  })

  test('answers a ping with what it said', async () => {
    await using it = await opened()
    it.socket.write(frame(fin | ping, Buffer.from('you there?')))
    await until(() => it.bytes().length > 0)
    assert.deepEqual(
      sent(it.bytes()).map(({ first, payload }) => [first, `${payload}`]),
      [[fin | pong, 'you there?']],
    )
    it.channel.close()
  })

  test('answers each ping that leaves it the time', async () => {
    await using it = await opened()
    for (let time = 1; time <= 70; time += 1) {
      it.socket.write(frame(fin | ping))
      await until(() => it.bytes().length === time * 6)
    }
    it.channel.close()
  })

  test('S13: keeps no more answers for a server that pings and does not read than a few', async () => {
    await using it = await opened()
    it.socket.write(Buffer.concat(Array.from({ length: 61 }, () => frame(fin | ping))))
    assert.equal((await it.events.end).reason, 'lost')
    await it.gone
  })

  test('ends when the server closes it, with what came before, and waits for nobody', async () => {
    await using it = await opened()
    const waiting = timers()
    it.socket.write(Buffer.concat([frame(fin | binary, Buffer.of(7)), frame(fin | close, Buffer.of(0x03, 0xe9, 0x21))]))
    assert.equal((await it.events.end).reason, 'lost')
    await it.gone
    assert.deepEqual(it.events.messages, [Uint8Array.of(7)])
    assert.deepEqual(
      sent(it.bytes()).map(({ first }) => first),
      [fin | close],
    )
    assert.equal(timers(), waiting)
  })

  test('ends when the server has said its last', async () => {
    await using it = await opened()
    it.socket.end(frame(fin | binary, Buffer.of(7)))
    assert.equal((await it.events.end).reason, 'lost')
    await it.gone
    assert.deepEqual(it.events.messages, [Uint8Array.of(7)])
  })

  test('says what broke it', async () => {
    await using it = await opened()
    it.socket.resetAndDestroy()
    const why = await it.events.end
    assert.equal(why.reason, 'lost')
    assert.match(why.message, /ECONNRESET/)
  })

  for (const [how, bytes] of Object.entries({ 'closes it': frame(fin | close), 'has said its last': undefined }))
    test(`S13: waits for a server that ${how} and reads nothing no longer than a while`, async (context) => {
      await using it = await opened()
      it.socket.pause()
      for (let time = 0; time < 4; time += 1) it.channel.send(new Uint8Array(limits.frameBytesMax))
      const isOver = overIn(it.events.end)
      context.mock.timers.enable({ apis: ['setTimeout'] })
      if (bytes === undefined) it.socket.end()
      else it.socket.write(bytes)
      await passing(context, 2_500)
      it.channel.send(Uint8Array.of(1))
      await passing(context, 2_400)
      assert.equal(isOver(), false)
      await passing(context, 5_000)
      assert.equal(isOver(), true)
      assert.equal((await it.events.end).reason, 'lost')
    })

  test('that has been closed says nothing more', async () => {
    await using it = await opened()
    it.channel.close()
    it.channel.send(Uint8Array.of(1))
    it.channel.close()
    assert.equal((await it.events.end).reason, 'lost')
    it.channel.send(Uint8Array.of(1))
    await it.gone
    assert.equal(it.bytes().length, 0)
  })

  test('that is closed for what it says is not heard any further', async () => {
    await using it = await opened((channel) => channel.close())
    it.socket.write(Buffer.concat([frame(fin | binary, Buffer.of(7)), frame(fin | binary, Buffer.of(8))]))
    await it.events.end
    assert.deepEqual(it.events.messages, [Uint8Array.of(7)])
  })
})

/** How many timers keep this process alive. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length
}

function overIn(end: Promise<unknown>): () => boolean {
  let isOver = false
  void end.then(() => {
    isOver = true
  })
  return () => isOver
}

/** Lets what has arrived be read, then time pass, then what follows happen. */
async function passing(context: TestContext, ms: number): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await nextTurn()
  context.mock.timers.tick(ms)
  for (let turn = 0; turn < 200; turn += 1) await nextTurn()
}
