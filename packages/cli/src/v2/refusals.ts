import type { OperationName, Request } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'

/** Version 2 says no without a reason. These are the likely ones, and what to do about them. */
const likely = {
  register: {
    what: 'to register this name',
    why: 'most likely somebody has it already, or the server takes no more people',
    advice: 'another name',
  },
  list: {
    what: 'to list the people',
    why: 'most likely it does not know us: me.info is of another server, or the server lost its data',
    advice: 'check --server and server.info, or register in another folder (--dir)',
  },
  key: {
    what: 'to give this public key',
    why: 'most likely nobody has this id on this server',
    advice: 'messageu v2 people, to see who is there',
  },
  send: {
    what: 'to take the message',
    why: 'most likely the addressee or we are not registered there, or a mailbox or the disk is full',
    advice: 'messageu v2 people, to see who is there; if it lists the addressee, again later',
  },
  fetch: {
    what: 'to hand out our messages',
    why: 'most likely it does not know us, or another fetch of ours is still going on',
    advice: 'again in a minute; then check --server and server.info',
  },
} as const satisfies Record<OperationName, { what: string; why: string; advice: string }>

export function refused({ kind }: Request): Failure {
  const { what, why, advice } = likely[kind]
  return new Failure('refused', { what: `the server refused ${what}`, why: `it gives no reason; ${why}`, advice })
}
