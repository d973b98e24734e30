import { Writable } from 'node:stream'

/** Where everything is shown that one side gets to see: every line says whose screen it is. */
export function screenOf(name: string, out: Writable): Writable {
  const prefix = `${name.padStart(12)} │ `
  return new Writable({
    write(chunk: Buffer, _, done) {
      const lines = chunk.toString().replace(/\n$/, '').split('\n')
      out.write(lines.map((line) => `${prefix}${line}\n`).join(''), done)
    },
  })
}
