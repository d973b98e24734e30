import path from 'node:path'
import { encodeRequest } from '@messageu/protocol/v2'
import { Child } from './children.ts'
import { benchFolder, type Figure, median, pairs, rounded } from './measure.ts'
import { type Bare, base64, idOf, type Load, type Server } from './parties.ts'

const fileBytes = 1000 * 1000 * 1000
const pairCount = 4
const parallel = 16
const sampleMs = 20
const megabyte = 1_000_000

/** Files of 1000 MB through version 2. */
export async function* fileFigures(): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  await using server: Server = new Child('./server-child.ts')
  await using bare: Bare = new Child('./bare-child.ts')
  await using load: Load = new Child('./load-child.ts')
  const port = await server.ask('open', folder.path)
  const ids = await server.ask('register', parallel + 1)
  const [sender = ''] = ids
  const head = (to: string): string =>
    base64(
      encodeRequest({
        kind: 'send',
        asker: idOf(sender),
        addressed: { recipient: idOf(to), type: 'file', contentBytes: fileBytes },
      }),
    )
  const upload = (to: string): Promise<number> => load.ask('upload', { port, head: head(to), bytes: fileBytes })
  const download = (of: string, by = load): Promise<{ rate: number; bytes: number }> =>
    by.ask('download', { port, request: base64(encodeRequest({ kind: 'fetch', asker: idOf(of) })) })
  const [, first = ''] = ids
  const emptied = async (): Promise<void> => {
    while ((await server.ask('waiting', undefined)) > 0) await new Promise((resolve) => setTimeout(resolve, 50))
  }

  const dropPort = await bare.ask('drop', fileBytes + 43)
  const drops: number[] = []
  const writes: number[] = []
  let peak = 0
  const base = server.memory().now
  const limit = async (): Promise<number> => {
    drops.push(await load.ask('upload', { port: dropPort, head: head(first), bytes: fileBytes }))
    writes.push(await bare.ask('writeFile', { file: path.join(folder.path, 'plain.bin'), bytes: fileBytes }))
    return Math.min(drops.at(-1) as number, writes.at(-1) as number)
  }
  const uploadAndFetch = async (): Promise<number> => {
    const rate = await watching(
      server,
      () => upload(first),
      (bytes) => {
        peak = Math.max(peak, bytes)
      },
    )
    await download(first)
    await emptied()
    return rate
  }
  const up = await pairs(pairCount, uploadAndFetch, limit)
  yield {
    name: 'files.upload-1000MB',
    value: rounded(up.ratio),
    unit: 'MB/s durable ÷ the smaller of receive-and-drop and a plain write with fdatasync',
    goal: 0.7,
    better: 'higher',
    beside: {
      mbPerSecond: rounded(up.ours / megabyte),
      dropMbPerSecond: rounded(median(drops) / megabyte),
      writeMbPerSecond: rounded(median(writes) / megabyte),
      spread: up.spread,
    },
  }
  yield memoryFigure('files.upload-memory', peak - base, 100)

  const sendPort = await bare.ask('send', fileBytes)
  peak = 0
  const fetchOnce = async (): Promise<number> => {
    await upload(first)
    const { rate, bytes } = await watching(
      server,
      () => download(first),
      (seen) => {
        peak = Math.max(peak, seen)
      },
    )
    if (bytes !== 7 + 25 + fileBytes) throw new Error(`${bytes} bytes came`)
    await emptied()
    return rate
  }
  const bareSend = async (): Promise<number> =>
    (await load.ask('download', { port: sendPort, request: base64(Buffer.alloc(22)) })).rate
  const down = await pairs(pairCount, fetchOnce, bareSend)
  yield {
    name: 'files.download-1000MB',
    value: rounded(down.ratio),
    unit: 'MB/s ÷ sending from memory in writes of 1 MiB',
    goal: 0.75,
    better: 'higher',
    beside: {
      mbPerSecond: rounded(down.ours / megabyte),
      memoryMbPerSecond: rounded(down.limit / megabyte),
      spread: down.spread,
    },
  }
  yield memoryFigure('files.download-memory', peak - base, 100)

  peak = 0
  const note = (bytes: number): void => {
    peak = Math.max(peak, bytes)
  }
  const others = ids.slice(1)
  const loads = others.map((): Load => new Child('./load-child.ts'))
  const each = <T>(work: (load: Load, to: string) => Promise<T>): Promise<T[]> =>
    Promise.all(loads.map((by, i) => work(by, others[i] as string)))
  await watching(server, () => each((by, to) => by.ask('upload', { port, head: head(to), bytes: fileBytes })), note)
  yield memoryFigure('files.upload-16-memory', peak - base, 200)
  peak = 0
  await watching(server, () => each((by, to) => download(to, by)), note)
  yield memoryFigure('files.download-16-memory', peak - base, 200)
  for (const by of loads) await by[Symbol.asyncDispose]()
  await emptied()
  await server.ask('close', undefined)
}

function memoryFigure(name: string, bytes: number, goal: number): Figure {
  return { name, value: rounded(bytes / megabyte), unit: 'MB peak over base', goal, better: 'lower', beside: {} }
}

/** Runs `work` and looks at the server's memory all the while. */
async function watching<T>(server: Server, work: () => Promise<T>, see: (bytes: number) => void): Promise<T> {
  const timer = setInterval(() => see(server.memory().now), sampleMs)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}
