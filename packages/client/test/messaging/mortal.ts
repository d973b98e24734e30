import { Life, mortalStore, mortalWorld } from '../mortal.ts'
import type { Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** A life of `steps` steps of a device doing `work`, after which it is offline. */
export async function liveFor(
  steps: number,
  world: MessagingWorld,
  device: Device,
  work: (device: Device) => Promise<void>,
): Promise<'killed' | 'whole'> {
  await device.goOffline()
  const life = Life.of(steps)
  const killed = device.anew({ store: mortalStore(device.store, life), world: mortalWorld(world.world, life) })
  const whole = killed.comeOnline().then(work)
  let isWhole = false
  whole.then(
    () => {
      isWhole = true
    },
    () => {},
  )
  for (let seconds = 0; seconds < 120 && !isWhole && !life.isOver; seconds++) {
    await still()
    if (!isWhole && !life.isOver) await world.pass(1_000)
  }
  await still()
  // it may still die of what it does at the end
  if (isWhole) await Promise.race([killed.goOffline(), life.over])
  else killed.die()
  device.shown.push(...killed.shown)
  return isWhole ? 'whole' : 'killed'
}
