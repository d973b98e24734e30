import { openProfile } from '../../src/node/profile.ts'

// Opens a profile, stores something and stays; or says why it cannot.
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

try {
  const profile = await openProfile(process.argv[2] ?? '')
  await profile.store.commit([{ table: 'content', key: text('key'), value: text('value') }], profile.store.revision)
  process.send?.('ready')
  setInterval(() => {}, 1000)
} catch (error) {
  const reason = error instanceof Error && 'reason' in error ? error.reason : 'unforeseen'
  console.log(reason, error instanceof Error ? error.message : error)
}
