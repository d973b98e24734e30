export {
  type Brand,
  bytes,
  type Codec,
  decode,
  encode,
  fixed,
  type Infer,
  list,
  mapped,
  named,
  rest,
  struct,
  text,
  u8,
  u16,
  u32,
  union,
} from './codec.ts'
export { ProtocolError, type Reason, reasons } from './errors.ts'
export { utf8Decode, utf8Encode } from './utf8.ts'
