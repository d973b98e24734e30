/** The exit status that a script sees. */
export const exits = {
  ok: 0,
  failed: 1,
  usage: 2,
  network: 3,
  'not-registered': 4,
  untrusted: 5,
  'not-found': 6,
  limited: 7,
  partly: 8,
  interrupted: 130,
} as const

type Exit = keyof typeof exits

/** Every way in which a command can fail: a stable word for scripts, and the exit status that goes with it. */
// biome-ignore format: the columns are the point
const failures = {
  usage:                { exit: 'usage' },
  'bad-name':           { exit: 'usage' },
  'bad-text':           { exit: 'usage' },
  'bad-address':        { exit: 'usage' },
  'no-server':          { exit: 'usage' },
  'bad-setting':        { exit: 'usage' },
  'port-taken':         { exit: 'failed' },
  'no-running-server':  { exit: 'network' },
  'no-such-account':    { exit: 'not-found' },
  'cannot-store':       { exit: 'failed' },
  'newer-storage':      { exit: 'failed' },
  backup:               { exit: 'failed' },
  unreachable:          { exit: 'network' },
  timeout:              { exit: 'network' },
  'cut-off':            { exit: 'network' },
  'bad-answer':         { exit: 'network' },
  refused:              { exit: 'failed' },
  'not-registered':     { exit: 'not-registered' },
  'already-registered': { exit: 'failed' },
  'unknown-person':     { exit: 'not-found' },
  'ambiguous-person':   { exit: 'not-found' },
  'no-such-file':       { exit: 'not-found' },
  'not-a-file':         { exit: 'failed' },
  'file-changed':       { exit: 'failed' },
  'too-large':          { exit: 'limited' },
  'no-key':             { exit: 'failed' },
  'bad-public-key':     { exit: 'untrusted' },
  'public-key-changed': { exit: 'untrusted' },
  damaged:              { exit: 'failed' },
  'insecure-file':      { exit: 'failed' },
  'disk-full':          { exit: 'failed' },
  'in-use':             { exit: 'failed' },
  'test-failed':        { exit: 'failed' },
  'bad-link':           { exit: 'usage' },
  'bad-words':          { exit: 'usage' },
  'name-taken':         { exit: 'failed' },
  'bad-invite':         { exit: 'failed' },
  limited:              { exit: 'limited' },
  'not-found':          { exit: 'not-found' },
  'untrusted-server':   { exit: 'untrusted' },
  'list-changed':       { exit: 'untrusted' },
  'account-changed':    { exit: 'untrusted' },
  superseded:           { exit: 'failed' },
  delisted:             { exit: 'not-registered' },
  clone:                { exit: 'failed' },
  'wrong-passphrase':   { exit: 'failed' },
  'no-device':          { exit: 'failed' },
  'not-accepted':       { exit: 'failed' },
  unseen:               { exit: 'untrusted' },
  forbidden:            { exit: 'failed' },
  'bad-code':           { exit: 'usage' },
  unproved:             { exit: 'failed' },
  contested:            { exit: 'failed' },
  interrupted:          { exit: 'interrupted' },
  system:               { exit: 'failed' },
  internal:             { exit: 'failed' },
} as const satisfies Record<string, { exit: Exit }>

export type FailureCode = keyof typeof failures

interface Account {
  /** What happened. */
  readonly what: string
  readonly why?: string
  /** What the reader can do about it. */
  readonly advice: string
  readonly cause?: unknown
}

/** A command cannot do what it was asked. Its texts may quote a peer: they are escaped where they are printed. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: FailureCode
  readonly what: string
  readonly why: string | undefined
  readonly advice: string

  constructor(code: FailureCode, { what, why, advice, cause }: Account) {
    super(why === undefined ? what : `${what}: ${why}`, { cause })
    this.code = code
    this.what = what
    this.why = why
    this.advice = advice
  }

  get exitCode(): number {
    return exits[failures[this.code].exit]
  }
}

/** The failure that `error` stands for. Whatever no code of ours foresaw is our mistake, and is called that. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (error instanceof Error && error.name === 'AbortError') return interrupted()
  if (isSystemError(error)) return systemFailure(error)
  const what = error instanceof Error ? error.message : String(error)
  return new Failure('internal', { what, advice: 'report this as a bug, with what you did', cause: error })
}

export function interrupted(): Failure {
  return new Failure('interrupted', { what: 'interrupted', advice: 'the same command again' })
}

/** An error of the operating system: the call failed, and `code` says how. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string'
}

// biome-ignore format: the columns are the point
const systemWords: Readonly<Record<string, { why: string; advice: string }>> = {
  EACCES: { why: 'permission denied',                     advice: 'another folder, or another user' },
  EPERM:  { why: 'not permitted',                         advice: 'another folder, or another user' },
  ENOENT: { why: 'there is no such file or folder',       advice: 'check the path' },
  EISDIR: { why: 'it is a folder',                        advice: 'check the path' },
  ENOTDIR:{ why: 'a part of the path is not a folder',    advice: 'check the path' },
  EROFS:  { why: 'the disk cannot be written to',         advice: 'another folder' },
  EMFILE: { why: 'too many files are open',               advice: 'again later, or a higher limit (ulimit -n)' },
  EIO:    { why: 'the disk reports a fault',              advice: 'check the disk' },
}

function systemFailure(error: NodeJS.ErrnoException & { code: string }): Failure {
  const path = error.path === undefined ? '' : ` ${error.path}`
  const what = `cannot ${error.syscall}${path}`
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG')
    return new Failure('disk-full', { what, why: 'there is no room', advice: 'make room, then again', cause: error })
  const { why, advice } = systemWords[error.code] ?? { why: error.code, advice: 'check the path and its permissions' }
  return new Failure('system', { what, why, advice, cause: error })
}
