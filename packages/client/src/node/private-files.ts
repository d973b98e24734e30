import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { ClientError } from '../errors.ts'

/** Windows has no such flag; there a link needs the rights of an administrator. */
const noFollow = constants.O_NOFOLLOW ?? 0
const hasModes = process.platform !== 'win32'

/** A folder of ours alone: made 0700, and neither a link nor a folder that others may write to. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const found = await statusOf(folder)
  if (!found?.isDirectory()) throw insecure(`${folder} is not a folder, or a link to one`)
  const { mode, uid } = found
  const isOurs = process.getuid === undefined || uid === process.getuid()
  if (hasModes && ((mode & 0o022) !== 0 || !isOurs)) throw insecure(`others may write to ${folder}`)
}

/** The bytes of a file that is ours alone; `undefined` where there is none. */
export async function readPrivateFile(file: string, { max }: { max: number }): Promise<Uint8Array | undefined> {
  await using handle = await openWithoutLink(file)
  if (handle === undefined) return undefined
  const { size, mode } = await handle.stat()
  if (hasModes && (mode & 0o077) !== 0) throw insecure(`others may read ${file}`)
  if (size > max) throw new ClientError('damaged', `${file} has ${size} bytes where at most ${max} can be right`)
  return handle.readFile()
}

/**
 * A file of ours alone under this name, made where there is none. One that is there is not opened: closing it again would
 * take the locks that this process has on it.
 */
export async function ensurePrivateFile(file: string): Promise<void> {
  if (await mustBePrivate(file)) return
  await using _made = await create(file)
  await syncFolder(path.dirname(file))
}

/** Puts `bytes` in place of the file in one step: a crash leaves the old content or the new one. */
export async function replacePrivateFile(file: string, bytes: Uint8Array): Promise<void> {
  const draft = `${file}.${randomBytes(8).toString('hex')}.new`
  try {
    {
      await using handle = await create(draft)
      await handle.writeFile(bytes)
      await handle.sync()
    }
    await rename(draft, file)
  } catch (error) {
    await unlink(draft).catch(() => {}) // it may never have been made; why it failed is what counts
    throw cannotStore(file, error)
  }
  await syncFolder(path.dirname(file))
}

/** Whether there is a file; throws where it is not a file, or not for us alone. */
export async function mustBePrivate(file: string): Promise<boolean> {
  const found = await statusOf(file)
  if (found === undefined) return false
  if (!found.isFile()) throw insecure(`${file} is not a regular file`)
  if (hasModes && (found.mode & 0o077) !== 0) throw insecure(`others may read ${file}`)
  return true
}

function cannotStore(file: string, cause: unknown): ClientError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new ClientError('cannot-store', `cannot write ${file}: ${why}`, { cause })
}

function create(file: string): Promise<FileHandle> {
  return open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow, 0o600)
}

async function openWithoutLink(file: string): Promise<FileHandle | undefined> {
  let handle: FileHandle
  try {
    // without O_NONBLOCK, a pipe with this name would hold us for ever
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | noFollow)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ELOOP') throw insecure(`${file} is a symbolic link`)
    throw error
  }
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw insecure(`${file} is not a regular file`)
}

/** Of the name itself, not of what a link leads to. */
async function statusOf(file: string) {
  try {
    return await lstat(file)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Makes the names in a folder durable. */
async function syncFolder(folder: string): Promise<void> {
  if (!hasModes) return // cannot be opened there
  await using handle = await open(folder, constants.O_RDONLY)
  await handle.sync()
}

function insecure(what: string): ClientError {
  return new ClientError('insecure-file', what)
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
