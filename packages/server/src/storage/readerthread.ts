import { Worker } from 'node:worker_threads'
import { ProtocolError } from '@messageu/protocol'
import { DamagedStorage, fromThread } from './damage.ts'
import type { StoredForms } from './messagereader.ts'
import type { Answered, AnswerTo, Asked, Failure, Question, QuestionKind } from './questions.ts'

interface Asker {
  resolve(answer: AnswerTo<QuestionKind>): void
  reject(error: Error): void
}

/** The thread that reads what is no longer in memory. It sees all that was durable when it was asked. */
export class ReaderThread {
  readonly #worker: Worker
  readonly #askers = new Map<number, Asker>()
  /** Asked in this turn of the event loop. */
  #batch: Asked[] = []
  #ticket = 0
  #ended: Error | undefined

  constructor(file: string, onError: (error: Error) => void) {
    this.#worker = new Worker(new URL(import.meta.resolve('#reader')), { workerData: { file }, name: 'reader' })
    this.#worker.on('message', (answered: readonly Answered[]) => {
      for (const each of answered) this.#tell(each)
    })
    this.#worker.on('error', (error: Error) => {
      this.#end(fromThread(error))
      onError(fromThread(error))
    })
  }

  ask<K extends QuestionKind>(question: Question & { readonly kind: K }): Promise<AnswerTo<K>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const ticket = ++this.#ticket
      // the thread answers a question of a kind with an answer of that kind: `answerTo` in reader.ts
      this.#askers.set(ticket, { resolve: resolve as Asker['resolve'], reject })
      if (this.#batch.length === 0) setImmediate(() => this.#flush())
      this.#batch.push({ ticket, question })
    })
  }

  read(positions: Float64Array): Promise<StoredForms> {
    return this.ask({ kind: 'messages', positions: positions.slice() })
  }

  async close(): Promise<void> {
    this.#end(new ProtocolError('stopping', 'the storage is closed'))
    await this.#worker.terminate()
  }

  #flush(): void {
    const batch = this.#batch
    this.#batch = []
    this.#worker.postMessage(batch)
  }

  #tell(answered: Answered): void {
    const asker = this.#askers.get(answered.ticket)
    this.#askers.delete(answered.ticket)
    if ('failure' in answered) asker?.reject(errorOf(answered.failure))
    else asker?.resolve(answered.answer)
  }

  #end(why: Error): void {
    this.#ended ??= why
    for (const { reject } of this.#askers.values()) reject(why)
    this.#askers.clear()
  }
}

function errorOf({ message, damaged }: Failure): Error {
  return damaged === undefined ? new Error(message) : new DamagedStorage(damaged.object, damaged.what)
}
