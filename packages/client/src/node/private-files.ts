import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { ClientError } from '../errors.ts'

// Small files, and few: a thread that waits for each of them would cost more than it saves.

/** Windows has no such flag; there a link needs the rights of an administrator. */
const noFollow = constants.O_NOFOLLOW ?? 0
const hasModes = process.platform !== 'win32'

/** A folder of ours alone: made 0700, and neither a link nor a folder that others may write to. */
export function makePrivateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const found = statusOf(folder)
  if (!found?.isDirectory()) throw insecure(`${folder} is not a folder, or a link to one`)
  const { mode, uid } = found
  const isOurs = process.getuid === undefined || uid === process.getuid()
  if (hasModes && ((mode & 0o022) !== 0 || !isOurs)) throw insecure(`others may write to ${folder}`)
}

/** The bytes of a file that is ours alone; `undefined` where there is none. */
export function readPrivateFile(file: string, { max }: { max: number }): Uint8Array | undefined {
  using handle = openWithoutLink(file)
  if (handle === undefined) return undefined
  const { size, mode } = fstatSync(handle.fd)
  if (hasModes && (mode & 0o077) !== 0) throw insecure(`others may read ${file}`)
  if (size > max) throw new ClientError('damaged', `${file} has ${size} bytes where at most ${max} can be right`)
  return readFileSync(handle.fd)
}

/**
 * A file of ours alone under this name, made where there is none. One that is there is not opened: closing it again would
 * take the locks that this process has on it.
 */
export function ensurePrivateFile(file: string): void {
  if (mustBePrivate(file)) return
  using _made = create(file)
  syncFolder(path.dirname(file))
}

/** Puts `bytes` in place of the file in one step: a crash leaves the old content or the new one. */
export function replacePrivateFile(file: string, bytes: Uint8Array): void {
  const draft = `${file}.${randomBytes(8).toString('hex')}.new`
  try {
    {
      using handle = create(draft)
      writeFileSync(handle.fd, bytes)
      fsyncSync(handle.fd)
    }
    renameSync(draft, file)
  } catch (error) {
    removeIfThere(draft)
    throw cannotStore(file, error)
  }
  syncFolder(path.dirname(file))
}

/** Whether there is a file; throws where it is not a file, or not for us alone. */
export function mustBePrivate(file: string): boolean {
  const found = statusOf(file)
  if (found === undefined) return false
  if (!found.isFile()) throw insecure(`${file} is not a regular file`)
  if (hasModes && (found.mode & 0o077) !== 0) throw insecure(`others may read ${file}`)
  return true
}

function cannotStore(file: string, cause: unknown): ClientError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new ClientError('cannot-store', `cannot write ${file}: ${why}`, { cause })
}

interface Opened extends Disposable {
  readonly fd: number
}

function opened(file: string, flags: number, mode?: number): Opened {
  const fd = openSync(file, flags, mode)
  return { fd, [Symbol.dispose]: () => closeSync(fd) }
}

function create(file: string): Opened {
  return opened(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow, 0o600)
}

function openWithoutLink(file: string): Opened | undefined {
  let handle: Opened
  try {
    // without O_NONBLOCK, a pipe with this name would hold us for ever
    handle = opened(file, constants.O_RDONLY | constants.O_NONBLOCK | noFollow)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ELOOP') throw insecure(`${file} is a symbolic link`)
    throw error
  }
  if (fstatSync(handle.fd).isFile()) return handle
  handle[Symbol.dispose]()
  throw insecure(`${file} is not a regular file`)
}

function removeIfThere(file: string): void {
  try {
    unlinkSync(file)
  } catch {
    // it may never have been made; why that failed is what counts
  }
}

/** Of the name itself, not of what a link leads to. */
function statusOf(file: string) {
  return lstatSync(file, { throwIfNoEntry: false })
}

/** Makes the names in a folder durable. */
function syncFolder(folder: string): void {
  if (!hasModes) return // cannot be opened there
  using handle = opened(folder, constants.O_RDONLY)
  fsyncSync(handle.fd)
}

function insecure(what: string): ClientError {
  return new ClientError('insecure-file', what)
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
