import { join } from 'node:path'
import { decode } from '@messageu/protocol'
import { type ClientId, type Listed, type Name, nameFromText, nameToText, PublicKey } from '@messageu/protocol/v2'
import * as v from 'valibot'
import { Failure } from '../failure.ts'
import { takeLock } from '../lock.ts'
import { readOwn, replaceFile } from '../private-files.ts'
import { type AesKey, aesKey, sameKey } from './crypto.ts'
import { idFromText, idText } from './identity.ts'
import { limits } from './limits.ts'

/** What we know about somebody on the server. */
export interface Person {
  readonly id: ClientId
  /** Unknown when somebody writes whom the list has not shown. */
  readonly name: Name | undefined
  /** As the server gave it the first time; it cannot change in version 2. */
  readonly publicKey: PublicKey | undefined
  /** The newest first: it seals, all of them open. */
  readonly keys: readonly AesKey[]
}

/** What outlives a run, beside the identity. */
export interface State {
  /** By `idText`, in the order in which we came to know them. */
  readonly people: ReadonlyMap<string, Person>
  /** Which messages were shown, the oldest first: `identityOf` in `sealed.ts`. */
  readonly shown: readonly string[]
}

const empty: State = { people: new Map(), shown: [] }

export function personIn(state: State, id: ClientId): Person {
  return state.people.get(idText(id)) ?? { id, name: undefined, publicKey: undefined, keys: [] }
}

export function withListed(state: State, listed: readonly Listed[]): State {
  const people = new Map(state.people)
  for (const { client, name } of listed) people.set(idText(client), { ...personIn(state, client), name })
  return { ...state, people: bounded(people) }
}

/** A list may name anybody; whom we share a key with stays. */
function bounded(people: Map<string, Person>): Map<string, Person> {
  for (const [id, person] of people) {
    if (people.size <= limits.peopleMax) break
    if (person.keys.length === 0) people.delete(id)
  }
  return people
}

export function withPublicKey(state: State, id: ClientId, publicKey: PublicKey): State {
  return withPerson(state, { ...personIn(state, id), publicKey })
}

/** The state with `key` as the newest of this person. */
export function withKey(state: State, id: ClientId, key: AesKey): State {
  const person = personIn(state, id)
  const older = person.keys.filter((known) => !sameKey(known, key))
  return withPerson(state, { ...person, keys: [key, ...older].slice(0, limits.keysPerPersonMax) })
}

function withPerson(state: State, person: Person): State {
  return { ...state, people: bounded(new Map(state.people).set(idText(person.id), person)) }
}

export function withShown(state: State, identities: Iterable<string>): State {
  return { ...state, shown: [...new Set([...state.shown, ...identities])].slice(-limits.shownMax) }
}

const Id = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}$/),
  v.transform((text) => idFromText(text) as ClientId), // the expression above is what an id looks like
)
const base64 = v.pipe(
  v.string(),
  v.base64(),
  v.transform((text) => new Uint8Array(Buffer.from(text, 'base64'))),
)
const File = v.strictObject({
  v: v.literal(1),
  me: v.string(),
  people: v.array(
    v.strictObject({
      id: Id,
      name: v.optional(v.pipe(v.string(), v.transform(nameFromText))),
      publicKey: v.optional(
        v.pipe(
          base64,
          v.transform((bytes) => decode(PublicKey, bytes)),
        ),
      ),
      keys: v.pipe(
        v.array(
          v.pipe(
            base64,
            v.transform((bytes) => aesKey(bytes)),
          ),
        ),
        v.maxLength(limits.keysPerPersonMax),
      ),
    }),
  ),
  shown: v.array(v.pipe(v.string(), v.regex(/^[\w-]{43}$/))),
})

export function statePath(dir: string): string {
  return join(dir, 'me.state')
}

/** What is known to `me`. A file that is damaged, or another client's, stops us and is left as it is. */
export async function loadState(dir: string, me: ClientId): Promise<State> {
  const path = statePath(dir)
  const file = await readOwn(path, { max: limits.stateBytesMax })
  if (file === undefined) return empty
  const parsed = parse(path, file.bytes)
  if (parsed.me !== idText(me))
    throw new Failure('damaged', {
      what: `${path} belongs to the client ${parsed.me}, and me.info is of ${idText(me)}`,
      advice: 'put the files of one client together again, or move me.state away: its keys are in it',
    })
  const people = parsed.people.map(({ name, publicKey, ...rest }): Person => ({ name, publicKey, ...rest }))
  return { people: new Map(people.map((person) => [idText(person.id), person])), shown: parsed.shown }
}

function parse(path: string, bytes: Uint8Array): v.InferOutput<typeof File> {
  try {
    return v.parse(File, JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch (error) {
    // the texts of JSON.parse and valibot quote the file, and the file holds keys
    const where =
      error instanceof v.ValiError
        ? `wrong at ${v.getDotPath(error.issues[0]) ?? 'the top'}`
        : 'it is not what we wrote'
    throw new Failure('damaged', {
      what: `${path} cannot be read`,
      why: where,
      advice: 'put back a copy that you kept, or move the file away: the AES keys are in it; nothing was changed',
    })
  }
}

function format(me: ClientId, state: State): Uint8Array {
  const people = [...state.people.values()].map(({ id, name, publicKey, keys }) => ({
    id: idText(id),
    name: name === undefined ? undefined : nameToText(name),
    publicKey: publicKey === undefined ? undefined : Buffer.from(publicKey).toString('base64'),
    keys: keys.map((key) => Buffer.from(key.reveal()).toString('base64')),
  }))
  return Buffer.from(`${JSON.stringify({ v: 1, me: idText(me), people, shown: state.shown })}\n`)
}

/** Another command of ours in the same folder changes the state in an instant, or not at all. */
const lockWaitMs = 10_000

/** Holds the files of a folder for a change. */
export function lockFiles(dir: string): Promise<Disposable> {
  return takeLock(join(dir, 'me.lock'), { waitMs: lockWaitMs })
}

/** Applies `change` to what is on the disk now, and resolves when the result is durable. */
export async function updateState(dir: string, me: ClientId, change: (state: State) => State): Promise<State> {
  using _lock = await lockFiles(dir)
  const state = await loadState(dir, me)
  const next = change(state)
  if (next !== state) await replaceFile(statePath(dir), format(me, next))
  return next
}
