import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, lstat, mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Failure, isSystemError } from './failure.ts'

/** What we keep is ours alone: files 0600 in folders 0700, made that way from the first byte, no link followed. */
const fileMode = 0o600
const folderMode = 0o700

/** Windows has no such flag; there a link needs the rights of an administrator. */
const noFollow = constants.O_NOFOLLOW ?? 0

export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: folderMode })
}

/** A folder that we made, or a person chose: but not a link that somebody put in its place. */
export async function makeOwnFolder(path: string): Promise<void> {
  await makeFolder(path)
  if ((await lstat(path)).isSymbolicLink()) throw linked(path)
}

/** Opens a regular file to read it; `undefined` where there is none. */
export async function openOwn(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle
  try {
    // without O_NONBLOCK, a pipe with this name would hold us for ever
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | noFollow)
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code === 'ENOENT') return undefined
    throw error.code === 'ELOOP' ? linked(path) : error
  }
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw new Failure('insecure-file', { what: `${path} is not a regular file`, advice: 'look at it and move it away' })
}

export interface OwnFile {
  readonly bytes: Uint8Array
  /** Whether other users of the machine can read it. */
  readonly exposed: boolean
}

/** A whole file of at most `max` bytes; `undefined` where there is none. */
export async function readOwn(path: string, { max }: { max: number }): Promise<OwnFile | undefined> {
  await using file = await openOwn(path)
  if (file === undefined) return undefined
  const { size, mode } = await file.stat()
  if (size > max)
    throw new Failure('damaged', {
      what: `${path} has ${size} bytes where at most ${max} can be right`,
      advice: 'put back a copy that you kept, or move the file away',
    })
  return { bytes: await file.readFile(), exposed: process.platform !== 'win32' && (mode & 0o077) !== 0 }
}

/** A new file, for us alone. Fails with EEXIST where something has its name already, be it a link. */
export function createOwn(path: string): Promise<FileHandle> {
  return open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow, fileMode)
}

/** A file whose bytes are overwritten in place, made where there is none. */
export function rewriteOwn(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_CREAT | noFollow, fileMode)
}

/** Puts `bytes` in place of the file in one step: a crash leaves the old content or the new one. */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  await using draft = await startDraft(path)
  await draft.replace(bytes)
}

/** A file that has its place but no content yet: whoever holds one knows that it can be written. */
export interface Draft extends AsyncDisposable {
  /** Gives the content its name; `false` where the name is taken. */
  create(bytes: Uint8Array): Promise<boolean>
  replace(bytes: Uint8Array): Promise<void>
}

export async function startDraft(path: string): Promise<Draft> {
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(16).toString('hex')}.tmp`)
  const file = await createOwn(draft)
  const fill = async (bytes: Uint8Array): Promise<void> => {
    await file.writeFile(bytes)
    await file.sync()
  }
  return {
    async create(bytes) {
      await fill(bytes)
      return nameIt(draft, path)
    },
    async replace(bytes) {
      await fill(bytes)
      await rename(draft, path)
      await syncFolder(dirname(path))
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      await removeIfThere(draft)
    },
  }
}

/** Gives the finished file `from` the name `to` as well, unless something has that name: then `false`. */
export async function nameIt(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code === 'EEXIST') return false
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(error.code)) throw error
    return renameWithoutLinks(from, to)
  }
  await syncFolder(dirname(to))
  return true
}

/** For file systems without hard links: the name is taken by an empty file of ours, which is then replaced. */
async function renameWithoutLinks(from: string, to: string): Promise<boolean> {
  try {
    await (await createOwn(to)).close()
  } catch (error) {
    if (isSystemError(error) && error.code === 'EEXIST') return false
    throw error
  }
  await rename(from, to)
  await syncFolder(dirname(to))
  return true
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return // cannot be opened there
  await using folder = await open(path, constants.O_RDONLY)
  await folder.sync()
}

export async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
  }
}

function linked(path: string): Failure {
  return new Failure('insecure-file', {
    what: `${path} is a symbolic link`,
    why: 'whoever made it could turn our files into others',
    advice: 'look at it and move it away, or name the real folder with --dir',
  })
}
