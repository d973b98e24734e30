import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { numbered, safeName } from '../../src/v2/safe-name.ts'

const name = (wish: string): string => safeName(wish, '-7.bin', { max: 100 })

for (const [wish, expected] of [
  ['alice', 'alice-7.bin'],
  ['דוד-bob', 'דוד-bob-7.bin'],
  ['Anna Maria', 'Anna_Maria-7.bin'],
  ['../../etc/passwd', 'etc_passwd-7.bin'],
  ['/etc/passwd', 'etc_passwd-7.bin'],
  ['C:\\Windows\\x', 'C_Windows_x-7.bin'],
  ['\\\\server\\share', 'server_share-7.bin'],
  ['nul\0byte', 'nul_byte-7.bin'],
  ['CON', '_CON-7.bin'],
  ['con.txt', '_con.txt-7.bin'],
  ['LPT1', '_LPT1-7.bin'],
  ['console', 'console-7.bin'],
  ['trailing. . .', 'trailing-7.bin'],
  ['-rf', 'rf-7.bin'],
  ['.bashrc', 'bashrc-7.bin'],
  ['~root', 'root-7.bin'],
  ['$(reboot)', '(reboot)-7.bin'],
  ['exe.\u202egnp', 'exe._gnp-7.bin'],
  ['zero\u200bwidth\ufeff', 'zero_width-7.bin'],
  [`z${'\u0301'.repeat(50)}algo`, 'ź\u0301\u0301\u0301algo-7.bin'],
  ['..', 'file-7.bin'],
  ['\0\u0abc', 'file-7.bin'],
  ['', 'file-7.bin'],
  ['\u2066\u2069', 'file-7.bin'],
] as const)
  test(`X03: ${JSON.stringify(wish.slice(0, 24))} is saved as ${expected}`, () => {
    assert.equal(name(wish), expected)
  })

test('X03: a name of 4 kB is cut at a character, within the limit', () => {
  const cut = name('✓'.repeat(1400))
  assert.equal(cut, `${'✓'.repeat(31)}-7.bin`)
  assert.ok(Buffer.byteLength(cut) <= 100)
})

test('X02, X03: whatever is wished for, the name is one visible segment with our extension, and stays the same when made safe again', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (wish) => {
      const safe = name(wish)
      assert.ok(Buffer.byteLength(safe) <= 100)
      assert.match(safe, /-7\.bin$/)
      assert.doesNotMatch(safe, /[\p{C}\p{Default_Ignorable_Code_Point}/\\:*?"<>|]|^[.\-\s]|[.\s]$/u)
      assert.equal(safeName(safe.slice(0, -'-7.bin'.length), '-7.bin', { max: 100 }), safe)
    }),
  )
})

test('a taken name gets its number in front of the extension', () => {
  assert.equal(numbered('a.b-7.bin', 1), 'a.b-7.bin')
  assert.equal(numbered('a.b-7.bin', 2), 'a.b-7 (2).bin')
})
