import type { RegistrationRates } from '../registrationrates.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §5.1. */
export function register(rates: RegistrationRates): Handler<'register'> {
  return async ({ directory, conversations }, { remote }, registration) => {
    rates.charge(remote, { hasInvite: registration.invite !== undefined })
    const { ownDevices } = registration // a repetition has the same
    const { account } = await directory.register(registration, (founder, device) =>
      conversations.founding(founder, device, ownDevices),
    )
    return { account: account.id, ownDevices, isAdmin: account.isAdmin }
  }
}
