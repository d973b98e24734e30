import type { Accepted, Send } from '@messageu/protocol/v3'
import { refusedFor } from './conversation.ts'
import { Letter } from './letters.ts'
import { maySend, notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import { answerBefore, isNew, type Named, turnOf } from './priors.ts'
import type { Device } from './services.ts'

/**
 * Accepts one application message: one step with the message and its record, nothing else. Protocol 3 §6.6.
 *
 * What has to be loaded is loaded first; then it is decided and called in one go, on what is in memory. Whoever had to
 * wait looks again, because others went on meanwhile.
 */
export async function send(
  parts: Parts,
  device: Device,
  request: Send,
  turn: 'free' | 'taken' = 'free',
): Promise<Accepted> {
  const { archive, clock, deliveries, ledgers, shelf, strangers } = parts
  const { conversation: id, generation, sealed } = request
  const letter = Letter.of({ kind: 'application', conversation: id, generation, sealed, sender: device.number })
  const named: Named = {
    device: device.number,
    number: request.number,
    id: request.id,
    digest: letter.digest(request.epoch),
  }
  let isKnownNew = false
  let isPaid = false
  for (;;) {
    const conversation = shelf.peek(id) ?? (await shelf.find(id))
    if (conversation === undefined) throw notPermitted('no such conversation')
    const { state } = conversation
    const ledger = ledgers.peek(state.creator) ?? (await ledgers.ofNumber(state.creator))
    const asked = isPaid ? undefined : strangers.to(conversation, device.account, 'message')
    const welcome = asked && (await asked)
    const sends = await archive.sends(device.number)
    // nothing is waited for from here on, unless it is begun anew
    if (!shelf.holds(conversation) || conversation.state !== state) continue

    if (isNew(sends, named) === 'maybe' && !(isKnownNew && sends.recent.get(named.number) === undefined)) {
      if (turn === 'free') return parts.turns.take([turnOf(named)], () => send(parts, device, request, 'taken'))
      const answer = await answerBefore(archive, named)
      if (answer !== undefined) return answer
      isKnownNew = true
      continue
    }
    const refused = refusedFor(conversation, () => maySend(state, device, request))
    if (refused !== undefined) {
      await refused
      continue
    }
    if (welcome?.isBlocked === true) throw notPermitted('no such conversation')
    if (welcome !== undefined && welcome.strangers.length > 0) {
      await strangers.charge(device.account, welcome, sealed.length)
      isPaid = true
      continue
    }
    const content = letter.content
    ledger.mustHaveRoom(conversation.number, content.length, 'message')

    const sequence = conversation.sequence + 1
    letter.accept(sequence, clock.nowMs())
    const { number, digest } = named
    const { boxes, number: conversationNumber } = conversation
    const from = { box: boxes.application, conversation: conversation.id }
    const message = {
      box: boxes.application,
      id: named.id,
      content,
      sent: { device: device.number, number, conversation: conversationNumber, sequence, digest },
    }
    ledger.underWayBytes += content.length
    try {
      const { positions, at } = await shelf.append(conversation, { messages: [message] }, ([position]) =>
        deliveries.arrived(letter, position as number, from, state.audience),
      )
      return { sequence, position: positions[0] as number, at } // there is one message
    } finally {
      ledger.underWayBytes -= content.length
    }
  }
}
