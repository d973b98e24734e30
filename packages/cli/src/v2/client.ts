/** The version 2 client without a terminal: what the menu, the commands, the test run and the demo have in common. */
export { type Address, formatAddress, loadAddress, parseAddress } from './address.ts'
export { type Identity, idText } from './identity.ts'
export { findPerson, people, publicKey } from './people.ts'
export { type Content, type Reading, read } from './read.ts'
export { register } from './register.ts'
export { type Client, openClient, whoAmI } from './requests.ts'
export { askForKey, giveKey, type Sent, sendFile, sendText } from './send.ts'
export type { Person } from './state.ts'
