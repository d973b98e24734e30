import { tell } from '../output.ts'
import { type Context, connect, hex } from './context.ts'

/** The devices on one's own list. */
export async function devices(context: Context): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  const own = hex(client.account.identity.device)
  const list = await client.devices({ signal })
  for (const { device, since } of list.devices) {
    const isThis = hex(device) === own
    await tell(
      output,
      { event: 'device', device: hex(device), since, isThis },
      `${hex(device)}  since version ${since} of the list${isThis ? '  (this device)' : ''}`,
    )
  }
}
