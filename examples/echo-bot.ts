/** Answers every text with the same text: node echo-bot.ts PROFILE-FOLDER. Whoever asks to write to it may. */
import { connect } from '@messageu/client/node'

const stop = new AbortController()
process.on('SIGINT', () => stop.abort())
const { signal } = stop
const [profile = 'echo-bot'] = process.argv.slice(2)

await using client = await connect({ profile, signal })
try {
  for await (const batch of client.arrivals({ signal }))
    for (const arrival of batch) {
      if (arrival.kind === 'told' && arrival.told.kind === 'request')
        for (const { name } of arrival.names) await client.judge(name, 'accept', { signal })
      if (arrival.kind === 'message' && !arrival.isOwn && arrival.content.kind === 'text')
        await client.sendTo(arrival.conversation, arrival.content.body, { signal })
    }
} catch (error) {
  if (!signal.aborted) throw error
}
