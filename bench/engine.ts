import {
  type ClientState,
  createApplicationMessage,
  createCommit,
  createGroup,
  decodeMlsMessage,
  defaultCapabilities,
  defaultLifetime,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  processPrivateMessage,
} from 'ts-mls'

const suite = await getCiphersuiteImpl(getCiphersuiteFromName('MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'))

/** Two members of one group, by the MLS engine as it is installed and nothing else: the limit for what is built on it. */
export class Engine {
  #writer: ClientState
  #reader: ClientState

  private constructor(writer: ClientState, reader: ClientState) {
    this.#writer = writer
    this.#reader = reader
  }

  static async start(): Promise<Engine> {
    const [one, other] = [await packageOf('writer'), await packageOf('reader')]
    const alone = await createGroup(new Uint8Array(36), one.publicPackage, one.privatePackage, [], suite)
    const add = { proposalType: 'add', add: { keyPackage: other.publicPackage } } as const
    const { newState, welcome } = await createCommit(
      { state: alone, pskIndex: emptyPskIndex, cipherSuite: suite },
      { extraProposals: [add] },
    )
    if (welcome === undefined) throw new Error('the engine welcomes nobody')
    const { publicPackage, privatePackage } = other
    const joined = await joinGroup(welcome, publicPackage, privatePackage, emptyPskIndex, suite, newState.ratchetTree)
    return new Engine(newState, joined)
  }

  async seal(content: Uint8Array): Promise<Uint8Array> {
    const { newState, privateMessage } = await createApplicationMessage(this.#writer, content, suite)
    this.#writer = newState
    return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage })
  }

  async open(sealed: Uint8Array): Promise<void> {
    const [message] = decodeMlsMessage(sealed, 0) ?? []
    if (message?.wireformat !== 'mls_private_message') throw new Error('no message')
    const { newState } = await processPrivateMessage(this.#reader, message.privateMessage, emptyPskIndex, suite)
    this.#reader = newState
  }
}

function packageOf(name: string) {
  const credential = { credentialType: 'basic', identity: new TextEncoder().encode(name) } as const
  return generateKeyPackage(credential, defaultCapabilities(), defaultLifetime, [], suite)
}
