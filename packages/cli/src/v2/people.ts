import { type Listed, nameToText, operations, type PublicKey, PublicKeyOf } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { idFromText, idText } from './identity.ts'
import { ask, type Client, whoAmI } from './requests.ts'
import { loadState, type Person, personIn, type State, updateState, withListed, withPublicKey } from './state.ts'

/** Everybody on the server but us, in the order of registration. */
export async function people(client: Client): Promise<readonly Listed[]> {
  const me = await whoAmI(client)
  const listed = await ask(client, { kind: 'list', asker: me.id }, operations.list.response)
  await updateState(client.dir, me.id, (state) => withListed(state, listed))
  return listed
}

/** The person with this id or this name. Asks the server only for a name that we do not know. */
export async function findPerson(client: Client, who: string): Promise<Person> {
  const me = await whoAmI(client)
  const state = await loadState(client.dir, me.id)
  const id = idFromText(who)
  if (id !== undefined) return personIn(state, id)
  const known = named(state, who)
  if (known !== undefined) return known
  const listed = withListed(state, await people(client))
  const found = named(listed, who)
  if (found !== undefined) return found
  throw unknown(who, listed)
}

function named(state: State, who: string): Person | undefined {
  const found = [...state.people.values()].filter(({ name }) => name !== undefined && nameToText(name) === who)
  if (found.length > 1)
    throw new Failure('ambiguous-person', {
      what: `${found.length} people are called "${who}"`,
      why: 'names are unique on an honest server',
      advice: `one of the ids: ${found.map(({ id }) => idText(id)).join(', ')}`,
    })
  return found[0]
}

const suggestionsMax = 3

function unknown(who: string, { people }: State): Failure {
  const names = [...people.values()].flatMap(({ name }) => (name === undefined ? [] : [nameToText(name)]))
  const wanted = folded(who)
  const near = names.filter((name) => folded(name).startsWith(wanted) || wanted.startsWith(folded(name)))
  const guesses = near.slice(0, suggestionsMax).map((name) => `"${name}"`)
  return new Failure('unknown-person', {
    what: `nobody is called "${who}" on this server`,
    advice: guesses.length > 0 ? `did you mean ${guesses.join(' or ')}?` : 'messageu v2 people, to see who is there',
  })
}

function folded(name: string): string {
  return name.normalize('NFKC').toLowerCase().trim()
}

export interface PersonWithKey extends Person {
  readonly publicKey: PublicKey
}

/** Asks the server for the public key. The first one is remembered, and another one later is refused. */
export async function publicKey(client: Client, who: string): Promise<PersonWithKey> {
  const me = await whoAmI(client)
  const person = await findPerson(client, who)
  // the original's client sends the target's id in the header as well
  const request = { kind: 'key', asker: person.id, target: person.id } as const
  const { client: id, publicKey } = await ask(client, request, PublicKeyOf)
  if (idText(id) !== idText(person.id)) throw otherKey(person, 'the server answered with the key of somebody else')
  if (person.publicKey === undefined)
    await updateState(client.dir, me.id, (state) => withPublicKey(state, person.id, publicKey))
  else if (Buffer.compare(person.publicKey, publicKey) !== 0)
    throw otherKey(person, 'in version 2 a public key never changes: somebody may want to read along')
  return { ...person, publicKey }
}

function otherKey(person: Person, why: string): Failure {
  return new Failure('public-key-changed', {
    what: `the server gives another public key for ${person.name === undefined ? idText(person.id) : nameToText(person.name)}`,
    why,
    advice: 'compare the fingerprints with that person by another way; the key that we know stays in use',
  })
}
