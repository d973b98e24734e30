import { Worker } from 'node:worker_threads'
import { ProtocolError } from '@messageu/protocol'
import { fromThread } from './damage.ts'
import type { ReadAnswer, ReadRequest, StoredForms } from './reader.ts'

interface Asked {
  resolve(forms: StoredForms): void
  reject(error: Error): void
}

/** The thread that reads what is no longer in memory. */
export class ReaderThread {
  readonly #worker: Worker
  readonly #asked = new Map<number, Asked>()
  #ticket = 0
  #ended: Error | undefined

  constructor(file: string, onError: (error: Error) => void) {
    this.#worker = new Worker(new URL(import.meta.resolve('#reader')), { workerData: { file }, name: 'reader' })
    this.#worker.on('message', (answer: ReadAnswer) => {
      const asked = this.#asked.get(answer.ticket)
      this.#asked.delete(answer.ticket)
      if ('forms' in answer) asked?.resolve(answer.forms)
      else asked?.reject(new Error(answer.failure))
    })
    this.#worker.on('error', (error: Error) => {
      this.#end(fromThread(error))
      onError(fromThread(error))
    })
  }

  read(positions: Float64Array): Promise<StoredForms> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const ticket = ++this.#ticket
      this.#asked.set(ticket, { resolve, reject })
      this.#worker.postMessage({ ticket, positions: positions.slice() } satisfies ReadRequest)
    })
  }

  async close(): Promise<void> {
    this.#end(new ProtocolError('stopping', 'the storage is closed'))
    await this.#worker.terminate()
  }

  #end(why: Error): void {
    this.#ended ??= why
    for (const { reject } of this.#asked.values()) reject(why)
    this.#asked.clear()
  }
}
