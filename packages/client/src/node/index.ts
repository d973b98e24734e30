export { type ConnectOptions, connect } from './connect.ts'
export { openProfile, type Profile } from './profile.ts'
export { SqliteStore } from './sqlite-store.ts'
export { type NodeTransportOptions, nodeTransport } from './transport.ts'
