import { tell } from '../output.ts'
import { type Context, hex, startSession } from './context.ts'

/** The devices on one's own list. */
export async function devices(context: Context): Promise<void> {
  const { output } = context
  await using opened = await startSession(context)
  const { session, signal } = opened
  const own = hex(session.account.identity.device)
  const list = await session.ownList({ signal })
  for (const { device, since } of list.devices) {
    const isThis = hex(device) === own
    await tell(
      output,
      { event: 'device', device: hex(device), since, isThis },
      `${hex(device)}  since version ${since} of the list${isThis ? '  (this device)' : ''}`,
    )
  }
}
