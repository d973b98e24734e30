export { certify, type DeviceSecrets, newDevice } from './device.ts'
export { IdentityError, type IdentityReason } from './errors.ts'
export {
  addDevice,
  changeManager,
  closeAccount,
  createAccount,
  recoverAccount,
  removeDevice,
} from './listentries.ts'
export { compareSafetyPayload, type SafetyIdentity, type SafetyNumber, safetyNumber } from './safetynumber.ts'
export { newSeed, type RandomBytes, Secret } from './secret.ts'
export { agreeOnMinor, proveSession, type SessionAttempt, verifyServerProof } from './session.ts'
export { type SigningKey, signingKey, verifySignature } from './signing.ts'
export {
  continueVerified,
  type Expected,
  judgeList,
  type SeenList,
  type VerifiedList,
  verifyList,
} from './verifiedlist.ts'
export { accountKeyFromWords, newWords, parseWords, type RecoveryWords, UnknownWordError } from './words.ts'
