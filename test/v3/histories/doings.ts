import { beginLinking, ClientError, finishLinking, MemoryStore, recover } from '@messageu/client'
import { parseLink, toBase64url } from '@messageu/protocol/v3'
import type { History } from './history.ts'
import { Phone } from './phone.ts'

const never = new AbortController().signal
const devicesMax = 3
/** Retention ends within, also that of commits. */
const daysMax = 100

/** What may happen beside talking, and changes in groups. */
export const kinds = ['age', 'devices', 'kills', 'leave', 'recover', 'restore', 'server', 'strangers'] as const
export type Kind = (typeof kinds)[number]

interface Doing {
  readonly name: string
  readonly kind?: Kind
  /** How often, compared with others. */
  readonly often: number
  do(history: History, step: number): Promise<void> | void
}

/** What somebody who is online does in one of their groups. */
function inGroup(act: (history: History, phone: Phone, group: InGroup, step: number) => void): Doing['do'] {
  return async (history, step) => {
    const phone = history.oneOf(history.online)
    const group = phone && (await history.groupOf(phone))
    if (phone !== undefined && group !== undefined && phone.isOnline)
      act(history, phone, { ...group, who: `#${toBase64url(group.id)}` }, step)
  }
}

type InGroup = NonNullable<Awaited<ReturnType<History['groupOf']>>> & { readonly who: string }

const write = (history: History, step: number): void => {
  const [phone, other] = [history.oneOf(history.online), history.oneOf([...history.words.keys()])]
  if (phone === undefined || other === undefined) return
  const [who, text] = [other === phone.person ? 'me' : other, `${step} by ${phone.name}`]
  const begunAt = history.town.ledger.now
  history.begin(`"${text}" to ${who}`, phone, async () => {
    const { conversation, sequence } = await phone.client.send(who, { text }, { signal: never })
    const title = `${phone.person}-${who}`
    history.note(conversation, title)
    const acceptedAt = history.town.ledger.now
    history.said.push({
      by: phone,
      text,
      conversation: toBase64url(conversation),
      title,
      sequence,
      begunAt,
      acceptedAt,
    })
  })
}

const makeGroup = (history: History, step: number): void => {
  const phone = history.oneOf(history.online)
  if (phone === undefined) return
  const others = [...history.words.keys()].filter((name) => name !== phone.person && history.roll(3) > 0)
  const title = `group ${step}`
  history.begin(`${title} with ${others}`, phone, async () => {
    const { conversation } = await phone.client.createGroup(title, others, { signal: never })
    history.note(conversation, title)
  })
}

const addOrRemove = inGroup((history, phone, { name, who, members }, step) => {
  const other = history.oneOf([...history.words.keys()])
  if (other === undefined || other === phone.person) return
  if (!members.includes(other))
    history.begin(`${step}: add ${other} to ${name}`, phone, () =>
      phone.client.addPeople(who, [other], { signal: never }),
    )
  else if (history.roll(2) === 0)
    history.begin(`${step}: remove ${other} from ${name}`, phone, () =>
      phone.client.removePeople(who, [other], { signal: never }),
    )
})

const leave = inGroup((history, phone, { id, name, who }, step) => {
  const { account } = phone.identity
  const recorded = history.town.ledger.now
  history.departures.push({ conversation: toBase64url(id), account: toBase64url(account), recorded })
  history.begin(`${step}: leave ${name}`, phone, () => phone.client.leave(who, { signal: never }))
})

async function endOrStartServer({ town, roll, tell }: History): Promise<void> {
  if (town.isServed) {
    const how = roll(2) === 0 ? 'stop' : 'SIGKILL'
    tell(`the server ends: ${how}`)
    await town.endServer(how)
    if (roll(3) === 0) return
  }
  await town.startServer()
}

/** The device that admits is the first of its account: it manages. */
function link(history: History, step: number): void {
  const { town } = history
  const manager = history.oneOf(history.online.filter((phone) => phone.name === phone.person))
  const own = history.alive.filter(({ person }) => person === manager?.person)
  if (manager === undefined || !town.isServed || own.length >= devicesMax) return
  const { person } = manager
  const name = `${person}/${step}`
  history.begin(`link ${name}`, manager, async () => {
    const store = new MemoryStore()
    const code = await beginLinking({ store, world: town.world }, await manager.client.offer())
    const admitting = manager.client.admit(code, { signal: never })
    admitting.catch(() => {}) // it is waited for below
    const { identity } = await finishLinking({ store, world: town.world, signal: never })
    const linked = new Phone(town, { name, person, store, identity })
    linked.isDropped = manager.isDropped
    history.phones.push(linked)
    if (!linked.isDropped) history.comes(linked)
    await admitting
  })
}

function drop(history: History, step: number): void {
  const manager = history.oneOf(history.online.filter((phone) => phone.name === phone.person))
  const lost = history.oneOf(history.alive.filter((phone) => phone.person === manager?.person && phone !== manager))
  if (manager === undefined || lost === undefined) return
  lost.isDropped = lost.isDropUnsure = true
  history.begin(`${step}: drop ${lost.name}`, manager, async () => {
    try {
      await manager.client.dropDevice(lost.identity.device, { signal: never })
    } catch (error) {
      const isUnknown = error instanceof ClientError && (error.reason === 'ended' || error.reason === 'lost')
      if (!isUnknown) {
        // it is off the account before it is out of every conversation
        const { devices } = await manager.client.devices({ signal: never })
        lost.isDropUnsure = false
        lost.isDropped = !devices.some(({ device }) => toBase64url(device) === lost.id)
      }
      throw error
    }
    lost.isDropUnsure = false
  })
}

async function recoverAccount(history: History, step: number): Promise<void> {
  const { town, phones } = history
  const person = history.oneOf(history.online)?.person
  const words = person === undefined ? undefined : history.words.get(person)
  if (person === undefined || words === undefined || !town.isServed) return
  // where no device has given back what a restored server has forgotten, the words begin another list: 0009
  const sibling = history.online.find((phone) => phone.person === person && phone.client.session.phase.phase === 'open')
  if (history.forgotten.length > 0 && sibling === undefined) return
  sibling?.liveOn() // whoever dies has no answer
  if (sibling !== undefined) await town.over(sibling.client.devices({ signal: never }))
  history.tell(`${person} recovers`)
  const store = new MemoryStore()
  const applicant = { link: parseLink(town.link), words, store, world: town.world, signal: never }
  const { identity } = await town.over(recover(applicant))
  for (const each of phones) if (each.person === person) each.isDropped = true
  const recovered = new Phone(town, { name: `${person}/${step}`, person, store, identity, isRecovered: true })
  phones.push(recovered)
  history.comes(recovered)
}

async function backUpOrRestore(history: History, step: number): Promise<void> {
  const { town, copy } = history
  if (!town.isServed) return
  await town.quiet()
  if (copy === undefined) {
    const name = `copy ${step}`
    history.copy = { name, recorded: await town.backUp(name) }
    history.tell('the server is backed up')
  } else {
    history.tell('the server goes on from a copy')
    history.forgotten.push({ from: copy.recorded, through: town.ledger.now })
    await town.restore(copy.name)
    town.ledger.forgetSince(copy.recorded)
  }
}

// biome-ignore format: the columns are the point
export const doings: readonly Doing[] = [
  { name: 'speak in a group',    often: 38, do: inGroup((history, phone, group, step) => history.say(phone, `${step} by ${phone.name}`, group)) },
  { name: 'write to somebody',   often: 6, do: write },
  { name: 'make a group',        often: 1, do: makeGroup },
  { name: 'add or remove',       often: 7, do: addOrRemove },
  { name: 'rename',              often: 2, do: inGroup((history, phone, { id, name, who }, step) => {
    const title = `${name}-${step}`
    const [conversation, account] = [toBase64url(id), toBase64url(phone.identity.account)]
    history.renames.push({ conversation, title, account })
    history.begin(`${step}: rename ${name}`, phone, () => phone.client.rename(who, title, { signal: never }))
  }) },
  { name: 'appoint',             often: 2, do: inGroup((history, phone, { name, who, members }, step) => {
    const owners = [...new Set([phone.person, ...members.filter(() => history.roll(2) === 0)])]
    history.begin(`${step}: owners of ${name} are ${owners}`, phone, () => phone.client.appoint(who, owners, { signal: never }))
  }) },
  { name: 'leave',               often: 1, kind: 'leave', do: leave },
  { name: 'go offline',          often: 8, do: async (history) => {
    const phone = history.oneOf(history.online)
    if (phone !== undefined) history.tell(`${phone.name} goes`)
    await phone?.goOffline()
  } },
  { name: 'come online',         often: 9, do: (history) => {
    const away = history.oneOf(history.alive.filter(({ isOnline, isComing }) => !isOnline && !isComing))
    if (away !== undefined) history.comes(away)
  } },
  { name: 'die',                 often: 6, kind: 'kills', do: (history) => {
    const phone = history.oneOf(history.online)
    if (phone === undefined) return
    const steps = history.roll(30)
    history.tell(`${phone.name} dies in ${steps} steps`)
    phone.endAfter(steps)
  } },
  { name: 'accept strangers',    often: 2, kind: 'strangers', do: (history, step) => {
    const phone = history.oneOf(history.online)
    if (phone !== undefined) history.begin(`${step}: ${phone.name} accepts`, phone, () => history.acceptAll(phone))
  } },
  { name: 'server ends, begins', often: 3, kind: 'server', do: endOrStartServer },
  { name: 'link a device',       often: 3, kind: 'devices', do: link },
  { name: 'drop a device',       often: 2, kind: 'devices', do: drop },
  { name: 'recover',             often: 1, kind: 'recover', do: recoverAccount },
  { name: 'copy, go on from it', often: 2, kind: 'restore', do: backUpOrRestore },
  { name: 'days go by',          often: 1, kind: 'age', do: async (history) => {
    if (!history.town.isServed) return
    const days = 1 + history.roll(daysMax)
    history.tell(`${days} days go by`)
    await history.town.age(days)
    history.agedAt = history.town.ledger.now
  } },
  { name: 'time passes',         often: 8, do: (history) => history.town.pass(history.roll(20_000)) },
]
