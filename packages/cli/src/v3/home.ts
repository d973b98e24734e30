import { homedir } from 'node:os'
import path from 'node:path'
import { Failure } from '../failure.ts'

const profileName = /^[\p{L}\p{Nd}][\p{L}\p{Nd}._-]{0,63}$/u

/** The folder of a profile: one device of one account. `--data-dir`, else where the system keeps a user's data. */
export function profileFolder({
  profile,
  dataDir,
}: {
  profile?: string | undefined
  dataDir?: string | undefined
}): string {
  const { MESSAGEU_PROFILE, MESSAGEU_DATA_DIR } = process.env
  const name = profile ?? MESSAGEU_PROFILE ?? 'default'
  if (!profileName.test(name))
    throw new Failure('usage', {
      what: `${name} cannot name a profile`,
      advice: 'letters and digits, with . _ - between them, 64 at most',
    })
  return path.join(dataDir ?? MESSAGEU_DATA_DIR ?? userData(), name)
}

function userData(): string {
  const { XDG_DATA_HOME, LOCALAPPDATA } = process.env
  // the XDG specification: a path that is not absolute is to be ignored
  if (XDG_DATA_HOME !== undefined && path.isAbsolute(XDG_DATA_HOME)) return path.join(XDG_DATA_HOME, 'messageu')
  if (process.platform === 'win32') return path.join(LOCALAPPDATA ?? homedir(), 'messageu')
  if (process.platform === 'darwin') return path.join(homedir(), 'Library', 'Application Support', 'messageu')
  return path.join(homedir(), '.local', 'share', 'messageu')
}
