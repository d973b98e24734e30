/** Somebody who uses the published packages: nine devices in one group, as the engine without its corrections has none. */
import { Gathering } from '../../bench/gathering.ts'

const group = await Gathering.begin()
const invite = async () => {
  const guest = await group.newGuest()
  await group.invite([guest])
  return guest
}
const [, , , fifth] = [await invite(), await invite(), await invite(), await invite(), await invite(), await invite()]
if (fifth !== undefined) await group.update(fifth)
await invite() // unmerged in all of its parents
await group.update(group.host) // and now in some of them only
const ninth = await invite()
const { content } = (await group.hear(ninth, await group.say(group.host, 'all nine are here'))).message
if (content.kind === 'text') console.log(group.seats.size, content.body.text)
