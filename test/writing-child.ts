/** For each line that comes, writes to a file in a thread that begins for it, and says what that came to. */
import { writeFileSync } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

if (isMainThread) {
  process.stdin.on('data', () => {
    new Worker(import.meta.filename, { workerData: process.argv[2] }).on('message', (outcome) => console.log(outcome))
  })
  console.log('ready')
} else {
  parentPort?.postMessage(outcomeOf(() => writeFileSync(workerData, 'x')))
}

function outcomeOf(write: () => void): string {
  try {
    write()
    return 'written'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}
