/** The head of an answer of HTTP/1.1, with the names of its fields in small letters. */
export interface AnswerHead {
  readonly status: number
  readonly fields: ReadonlyMap<string, string>
  /** What came behind it, so far. */
  readonly rest: Buffer
}

/** As much as `node:http` takes. */
const headBytesMax = 16 * 1024

const headEnd = '\r\n\r\n'

/**
 * Takes bytes as they come, until they are the head of an answer. Answers that only say that another one follows are passed
 * over (RFC 9110 §15.2). Throws for what is no head, and for more than may be in front of its end.
 */
export function headReader(): (chunk: Buffer) => AnswerHead | undefined {
  const bytes = Buffer.alloc(headBytesMax)
  let length = 0
  let start = 0
  return (chunk) => {
    const before = length
    length += chunk.copy(bytes, before)
    for (;;) {
      const searched = Math.max(start, before - headEnd.length + 1)
      const end = bytes.subarray(0, length).indexOf(headEnd, searched, 'latin1')
      if (end === -1) break
      const head = parseHead(bytes.toString('latin1', start, end))
      start = end + headEnd.length
      if (head.status >= 200 || head.status === 101) return { ...head, rest: chunk.subarray(start - before) }
    }
    if (length === headBytesMax) throw new Error(`no end of its answer within ${headBytesMax} bytes`)
    return undefined
  }
}

function parseHead(text: string): Omit<AnswerHead, 'rest'> {
  const [first = '', ...lines] = text.split('\r\n')
  const status = /^HTTP\/1\.[01] (\d{3})(?: .*)?$/.exec(first)?.[1]
  if (status === undefined) throw new Error('an answer that is not HTTP/1.1')
  const fields = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) throw new Error('an answer with a line that is no field')
    const key = name.toLowerCase()
    const other = fields.get(key)
    fields.set(key, other === undefined ? value.trim() : `${other}, ${value.trim()}`)
  }
  return { status: Number(status), fields }
}
