import type { Handlers } from './dispatch.ts'
import { accounts } from './operations/accounts.ts'
import { acknowledge } from './operations/acknowledge.ts'
import { append } from './operations/append.ts'
import { claim } from './operations/claim.ts'
import { commit } from './operations/commit.ts'
import { conversations } from './operations/conversations.ts'
import { countPackages } from './operations/count-packages.ts'
import { create } from './operations/create.ts'
import { credit } from './operations/credit.ts'
import { explain } from './operations/explain.ts'
import { find } from './operations/find.ts'
import { invite } from './operations/invite.ts'
import { judge } from './operations/judge.ts'
import { leave } from './operations/leave.ts'
import { open } from './operations/open.ts'
import { people } from './operations/people.ts'
import { publish } from './operations/publish.ts'
import { readList } from './operations/read-list.ts'
import { readState } from './operations/read-state.ts'
import { readTree } from './operations/read-tree.ts'
import { recover } from './operations/recover.ts'
import { recreate } from './operations/recreate.ts'
import { register } from './operations/register.ts'
import { requests } from './operations/requests.ts'
import { send } from './operations/send.ts'
import { setAccount } from './operations/set-account.ts'
import { stuck } from './operations/stuck.ts'
import type { RegistrationRates } from './registrationrates.ts'

/** Everything that is served. A row of the protocol's table without a handler here does not compile. */
export function handlersWith(rates: RegistrationRates) {
  return {
    register: register(rates),
    recover,
    'read-list': readList,

    append,
    find,
    people,
    publish,
    'count-packages': countPackages,
    claim,

    open,
    create,
    commit,
    send,
    recreate,
    'read-state': readState,
    'read-tree': readTree,
    leave,
    stuck,
    explain,
    conversations,

    credit,
    acknowledge,

    requests,
    judge,

    invite,
    accounts,
    'set-account': setAccount,
  } satisfies Handlers
}
