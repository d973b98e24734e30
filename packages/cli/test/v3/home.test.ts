import assert from 'node:assert/strict'
import { homedir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { profileFolder } from '../../src/v3/home.ts'

const names = ['MESSAGEU_PROFILE', 'MESSAGEU_DATA_DIR', 'XDG_DATA_HOME', 'LOCALAPPDATA'] as const

describe('the folder of a profile', () => {
  const before = new Map<string, string | undefined>()

  beforeEach(() => {
    for (const name of names) {
      before.set(name, process.env[name])
      delete process.env[name]
    }
  })
  afterEach(() => {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  })

  test('is what the arguments say, else the environment, else "default" where the system keeps data', () => {
    process.env.MESSAGEU_PROFILE = 'work'
    process.env.MESSAGEU_DATA_DIR = path.resolve('elsewhere')
    assert.equal(profileFolder({}), path.resolve('elsewhere', 'work'))
    assert.equal(profileFolder({ profile: 'home', dataDir: 'here' }), path.join('here', 'home'))
    delete process.env.MESSAGEU_PROFILE
    assert.equal(profileFolder({}), path.resolve('elsewhere', 'default'))
  })

  test('is where XDG_DATA_HOME says only if that is absolute', { skip: process.platform === 'win32' }, () => {
    process.env.XDG_DATA_HOME = '/xdg'
    assert.equal(profileFolder({}), '/xdg/messageu/default')
    process.env.XDG_DATA_HOME = 'xdg'
    assert(profileFolder({}).startsWith(homedir() + path.sep))
  })

  for (const profile of ['', '.', '..', '../other', 'a/b', 'a\\b', '.hidden', '-p', 'a\u001b[31m', 'x'.repeat(65)])
    test(`X02: is never ${JSON.stringify(profile.slice(0, 12))}`, () => {
      assert.throws(() => profileFolder({ profile, dataDir: 'here' }), { name: 'Failure', code: 'usage' })
    })

  test('may be named in any script', () => {
    assert.equal(profileFolder({ profile: 'Zoë-2', dataDir: 'here' }), path.join('here', 'Zoë-2'))
  })
})
