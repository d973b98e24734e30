export { isLoopback, type Security, socketUrl, usesTls } from './addressing.ts'
export type { Asker } from './asker.ts'
export { type Clock, systemClock, systemRandom } from './clock.ts'
export { type Attendant, Connection, type Welcome, type World } from './connection.ts'
export type { ListedConversation } from './conversations.ts'
export { badAnswer, ClientError, type ClientReason } from './errors.ts'
export type { Receiver } from './inbox.ts'
export { limits } from './limits.ts'
export { MemoryStore } from './memory-store.ts'
export { Client, type Posted, type Sent } from './messaging/client.ts'
export type { ClientOptions } from './messaging/connecting.ts'
export type { Confirmation, Safety } from './messaging/contacts.ts'
export type { Known } from './messaging/finding.ts'
export type { Progress } from './messaging/giving.ts'
export type { Arrival, Event, Item, Message, Somebody } from './messaging/items.ts'
export { beginLinking, finishLinking } from './messaging/linking.ts'
export { Reader } from './messaging/reader.ts'
export type { Told } from './messaging/rows.ts'
export type { Draft, Outcome, Place, Sealed, Sender, Unanswered } from './outbox.ts'
export type { SeenPage, SeenPerson } from './people.ts'
export type { Phase } from './phase.ts'
export { type Applicant, recover, register } from './registering.ts'
export type { AccountRow, Alarm } from './rows.ts'
export { openSession, Session, type SessionEvent, type SessionOptions, whoAmI } from './session.ts'
export {
  type Change,
  change,
  type Key,
  keyBytes,
  type Row,
  revisionConflict,
  type Store,
  type Table,
  tables,
} from './store.ts'
export { type Channel, type ChannelEvents, socketPath, subprotocol, type Transport } from './transport.ts'
export { browserTransport } from './websocket.ts'
export { type RequestOf, type ResponseOf, Wire } from './wire.ts'
