/**
 * A device that dies between two of its steps: `node killed-device.ts FOLDER LINK CONVERSATION COUNT KILL_AT`. A step is
 * a commit of its store, begun or done, and a message to or from the server. Ends with 0 when it has said and heard
 * COUNT texts, also those that it said in an earlier life.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store, Transport } from '@messageu/client'
import { nodeTransport } from '@messageu/client/node'
import { type ConversationId, fromBase64url } from '@messageu/protocol/v3'
import { getRow, progressKeys, sendingRow } from '../../packages/client/src/rows.ts'
import { Device } from './device.ts'

const [folder = '', link = '', conversation = '', count = '0', killAt = '0'] = process.argv.slice(2)

let steps = 0
function step(): void {
  steps += 1
  if (steps === Number(killAt)) process.kill(process.pid, 'SIGKILL')
}

function around(store: Store): Store {
  return {
    get revision() {
      return store.revision
    },
    get: (table, key) => store.get(table, key),
    read: (table, range) => store.read(table, range),
    async commit(changes, expected) {
      step()
      const revision = await store.commit(changes, expected)
      step()
      return revision
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

const network = nodeTransport()
const transport: Transport = {
  async open(to, events, options) {
    const channel = await network.open(
      to,
      {
        closed: (why) => events.closed(why),
        message(bytes) {
          step()
          events.message(bytes)
        },
      },
      options,
    )
    return {
      certificate: channel.certificate,
      send(bytes) {
        step()
        channel.send(bytes)
        step()
      },
      close: () => channel.close(),
    }
  },
}

let store: Store | undefined
await using device = await Device.open({
  folder,
  link,
  transport,
  around: (inner) => {
    store = around(inner)
    return store
  },
})
const said = store === undefined ? undefined : await getRow(store, sendingRow, progressKeys.sending)
for (let i = (said?.nextNumber ?? 1) - 1; i < Number(count); i++)
  await device.say(fromBase64url(conversation) as ConversationId, `bob ${i}`, { epoch: 1 })
await device.hears(Number(count))
while ((await store?.read('outbox', { limit: 1 }))?.length !== 0) await sleep(10)
