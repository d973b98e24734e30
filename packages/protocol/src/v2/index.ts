export { limits } from './limits.ts'
export {
  Addressed,
  ClientId,
  Delivered,
  Listed,
  Listing,
  MessageType,
  messageTypes,
  Name,
  nameFromText,
  nameToText,
  PublicKey,
  PublicKeyOf,
  Receipt,
  Registration,
  RequestHeader,
  ResponseHeader,
} from './messages.ts'
export { answerHeader, type OperationName, operations, refusal } from './operations.ts'
export { encodeRequest, type Request, type RequestEvents, RequestReader } from './request.ts'
export { type Answer, DeliveryReader, readAnswerHeader } from './response.ts'
