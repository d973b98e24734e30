import { open } from 'node:fs/promises'
import { verifyAuthorship } from '@messageu/e2ee/conversation'
import { decode, ProtocolError } from '@messageu/protocol'
import { SendId, toBase64url } from '@messageu/protocol/v3'
import { Failure } from '../failure.ts'
import { type Output, tell } from '../output.ts'
import { contentFields } from './arrival-events.ts'
import { said } from './arrival-lines.ts'
import { type Context, hex, read } from './context.ts'
import { personLabel } from './labels.ts'

/** A whole device list and the longest message are far below. */
const proofBytesMax = 16 * 2 ** 20

/** Bytes that show a third party who wrote a message, and what. CONVERSATIONS C 8 */
export async function prove(context: Context, who: string, message: string): Promise<void> {
  const { output } = context
  const id = sendId(message)
  if ('isTTY' in output.out && output.out.isTTY === true && !output.json)
    throw new Failure('usage', { what: 'a proof is bytes, not text', advice: 'messageu proof WHO MESSAGE-ID > FILE' })
  await using opened = await read(context)
  const proof = await opened.reader.prove(who, id)
  if (output.json) return tell(output, { event: 'proof', id: hex(id), proof: toBase64url(proof) }, '')
  await new Promise<void>((resolve, reject) => {
    output.out.write(proof, (error) => (error ? reject(error) : resolve()))
  })
}

/** What a proof proves: which account and device signed what. Asks nobody. */
export async function checkProof(output: Output, file: string): Promise<void> {
  const { account, list, header, content } = await verifyAuthorship(await proofIn(file)).catch((cause: unknown) => {
    throw new Failure('unproved', {
      what: `${file} proves nothing`,
      why: cause instanceof Error ? cause.message : String(cause),
      advice: 'ask for the file again, unchanged; if it is the same one, do not believe what it says',
    })
  })
  await tell(
    output,
    {
      event: 'proved',
      name: list.name,
      account: toBase64url(account),
      device: hex(header.device),
      id: hex(header.id),
      conversation: toBase64url(header.group.conversation),
      sentAt: header.clock,
      content: contentFields(content),
    },
    `${personLabel(list.name)} wrote this, by their own clock at ${timeOf(header.clock)}:
  ${said(content)}
account ${toBase64url(account)}
device  ${hex(header.device)}
message ${hex(header.id)}
Whether this account is whom you take it for, messageu people NAME and safety numbers say.`,
  )
}

async function proofIn(file: string): Promise<Uint8Array> {
  const handle = await open(file).catch((cause: unknown) => {
    throw new Failure('no-such-file', { what: `there is no ${file} that can be read`, advice: 'check the path', cause })
  })
  await using _closing = handle
  const buffer = Buffer.alloc(proofBytesMax + 1)
  let bytes = 0
  for (let read = -1; read !== 0 && bytes < buffer.length; bytes += read)
    read = (await handle.read(buffer, bytes, buffer.length - bytes)).bytesRead
  return buffer.subarray(0, bytes)
}

/** A clock may be set to what no calendar has. */
function timeOf(at: number): string {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? `${at} ms` : date.toISOString()
}

function sendId(text: string): SendId {
  try {
    if (!/^([0-9a-f]{2})+$/i.test(text)) throw new ProtocolError('malformed', 'not hexadecimal')
    return decode(SendId, Buffer.from(text, 'hex'))
  } catch {
    throw new Failure('usage', {
      what: `${text} is no id of a message`,
      advice: 'the 32 digits that send, listen --json and history --json show',
    })
  }
}
