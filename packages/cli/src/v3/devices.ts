import { Failure } from '../failure.ts'
import { tell } from '../output.ts'
import { type Context, connect, hex } from './context.ts'

/** The devices on one's own list. Which of the others manage the account stands nowhere: they have its key, or not. */
export async function devices(context: Context): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  const own = hex(client.account.identity.device)
  const list = await client.devices({ signal })
  const isManager = await client.manages()
  for (const { device, since } of list.devices) {
    const isThis = hex(device) === own
    const words = isManager
      ? 'this device, which manages the account'
      : 'this device, which does not manage the account'
    await tell(
      output,
      { event: 'device', device: hex(device), since, isThis, ...(isThis && { isManager }) },
      `${hex(device)}  since version ${since} of the list${isThis ? `  (${words})` : ''}`,
    )
  }
}

const prefixMin = 4

/** Takes a device off the account and out of every conversation. */
export async function removeDevice(context: Context, prefix: string): Promise<void> {
  const { output } = context
  if (!/^[0-9a-f]+$/i.test(prefix) || prefix.length < prefixMin)
    throw new Failure('usage', {
      what: `${prefix} is no beginning of a device id`,
      advice: `at least ${prefixMin} of the digits that messageu device list shows`,
    })
  await using connected = await connect(context, { tends: true })
  const { client, signal } = connected
  const list = await client.devices({ signal })
  const meant = list.devices.filter(({ device }) => hex(device).startsWith(prefix.toLowerCase()))
  const [only] = meant
  if (only === undefined || meant.length > 1)
    throw new Failure('not-found', {
      what: `${meant.length === 0 ? 'no device of yours begins' : `${meant.length} devices begin`} with ${prefix}`,
      advice: 'messageu device list',
    })
  await client.dropDevice(only.device, { signal })
  const device = hex(only.device)
  await tell(output, { event: 'removed', device }, `The device ${device} is off the account: it reads nothing more.`)
}
