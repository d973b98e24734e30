import type { SentRecord } from '../archive.ts'
import type { StoredForms } from './messagereader.ts'

/** What the reader thread can be asked, and what it answers. Everything passes between the threads as a copy. */
interface Questions {
  /** Stored forms by position. */
  messages: { asked: { positions: Float64Array }; answer: StoredForms }
  object: { asked: { object: number; key: Uint8Array }; answer: Uint8Array | undefined }
  objects: {
    asked: { object: number; prefix: Uint8Array; after: Uint8Array | undefined; limit: number }
    answer: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]
  }
  /** The newest records, packed; the one with the highest number is always among them. */
  sends: { asked: { device: number }; answer: Uint8Array }
  sent: { asked: { device: number; number: number }; answer: SentRecord | undefined }
  acknowledged: { asked: { device: number }; answer: number }
  positionBefore: { asked: { at: number }; answer: number }
}

export type QuestionKind = keyof Questions
export type Question<K extends QuestionKind = QuestionKind> = { [N in K]: { kind: N } & Questions[N]['asked'] }[K]
export type AnswerTo<K extends QuestionKind> = Questions[K]['answer']

export interface Asked {
  readonly ticket: number
  readonly question: Question
}

/** Why there is no answer: an error would lose its class on the way between threads. */
export interface Failure {
  readonly message: string
  readonly damaged: { readonly object: string; readonly what: string } | undefined
}

export type Answered =
  | { readonly ticket: number; readonly answer: AnswerTo<QuestionKind> }
  | { readonly ticket: number; readonly failure: Failure }
