import type { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { ArchiveReader } from './archivereader.ts'
import { DamagedStorage, namingDamage, tellsOfDamage } from './damage.ts'
import { messageReader } from './messagereader.ts'
import type { Answered, AnswerTo, Asked, Question, QuestionKind } from './questions.ts'
import { openForReading } from './schema.ts'

/** The thread that answers from what is durable: all questions that come together in one moment of the database. */
function serve(port: NonNullable<typeof parentPort>, database: DatabaseSync): void {
  const messages = messageReader(database)
  const archive = new ArchiveReader(database)
  const begin = database.prepare('BEGIN')
  const commit = database.prepare('COMMIT')

  port.on('message', (asked: readonly Asked[]) => {
    begin.run()
    const answered = asked.map(({ ticket, question }): Answered => {
      try {
        return { ticket, answer: answerTo(question) }
      } catch (error) {
        const { message } = error as Error
        return { ticket, failure: { message, damaged: damagedIn(error) } }
      }
    })
    if (database.isTransaction) commit.run()
    port.postMessage(answered, answered.flatMap(handedOver))
  })

  function answerTo(question: Question): AnswerTo<QuestionKind> {
    switch (question.kind) {
      case 'messages':
        return messages(question.positions)
      case 'object':
        return archive.object(question)
      case 'objects':
        return archive.objects(question)
      case 'sends':
        return archive.sends(question)
      case 'sent':
        return archive.sent(question)
      case 'acknowledged':
        return archive.acknowledged(question)
      case 'positionBefore':
        return archive.positionBefore(question)
    }
  }
}

/** The bytes of messages are handed over instead of copied. */
function handedOver(answered: Answered): ArrayBuffer[] {
  if (!('answer' in answered)) return []
  const { answer } = answered
  return typeof answer === 'object' && 'sealed' in answer ? [answer.sealed.buffer as ArrayBuffer] : [] // not shared
}

function damagedIn(error: unknown): { object: string; what: string } | undefined {
  if (error instanceof DamagedStorage) return { object: error.object, what: error.what }
  return tellsOfDamage(error) ? { object: 'server.db', what: (error as Error).message } : undefined
}

const port = parentPort
const { file } = workerData as { file: string } // as ReaderThread gives it
if (port !== null) namingDamage('server.db', () => serve(port, openForReading(file)))
