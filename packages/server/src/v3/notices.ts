import type { Account, Conversations, Directory, Session, Sessions } from './services.ts'

export interface NoticeParts {
  readonly directory: Directory
  readonly conversations: Pick<Conversations, 'acquaintances'>
  readonly sessions: Sessions
  /** Somebody could not be told; they will see it when they look. */
  readonly failed: (what: string, error: unknown) => void
}

/** Tells open sessions what has changed in the directory that concerns them. Protocol 3 §7.6. */
export function tellChanges({ directory, conversations, sessions, failed }: NoticeParts): void {
  directory.onPackagesLow(({ number }, body) => {
    sessions.ofDevice(number)?.notice({ kind: 'key-packages-low', body })
  })
  directory.onChange((account) => {
    const body = { account: account.id, version: account.list.version, hash: account.list.hash }
    const tell = (session: Session): void => session.notice({ kind: 'list-changed', body })
    for (const session of sessions.ofAccount(account)) tell(session)
    tellAcquaintances(account, tell).catch((error: unknown) => failed('list-changed', error))
  })

  async function tellAcquaintances(account: Account, tell: (session: Session) => void): Promise<void> {
    if (sessions.count === 0) return
    for (const other of await conversations.acquaintances(account))
      for (const each of sessions.ofAccount(other)) tell(each)
  }
}
