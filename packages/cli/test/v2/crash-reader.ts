// Reads what waits, prints each message as a line, and kills itself after some of them, as a power cut would.
import * as v2 from '../../src/v2/client.ts'
import { saveFolder } from './world.ts'

const [dir = '', address = '', survivals = ''] = process.argv.slice(2)
const client = v2.openClient({ dir, server: v2.parseAddress(address) })
let shown = 0
for await (const reading of v2.read(client, { save: saveFolder(client) })) {
  if (shown === Number(survivals)) process.kill(process.pid, 'SIGKILL')
  const what = reading.kind === 'message' ? reading.content.kind : reading.kind
  process.stdout.write(`${reading.id} ${what}\n`)
  shown += 1
}
