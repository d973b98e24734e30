import { openProfile } from '../../src/node/profile.ts'

// Fills a profile until the system refuses, under a limit on the size of files that the caller has set.
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

await using profile = await openProfile(process.argv[2] ?? '')
const { store } = profile
await store.commit([{ table: 'pins', key: text('first'), value: text('value') }], 0)
let reason: unknown
for (let round = 0; round < 100 && reason === undefined; round++) {
  const changes = [0, 1].map((half) => ({
    table: 'content' as const,
    key: text(`${round}/${half}`),
    value: new Uint8Array(10_000),
  }))
  try {
    await store.commit(changes, store.revision)
  } catch (error) {
    reason = error instanceof Error && 'reason' in error ? error.reason : error
  }
}
const wasThere = (await store.get('pins', text('first'))) !== undefined
const rows = await store.read('content', { limit: 1000 })
const isWhole = rows.length > 0 && rows.length % 2 === 0
await store.commit([{ table: 'pins', key: text('first'), value: undefined }], store.revision)
const goesOn = (await store.get('pins', text('first'))) === undefined
console.log(JSON.stringify({ reason, wasThere, isWhole, goesOn }))
