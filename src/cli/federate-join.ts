import { PareError } from '../base/errors.ts'
import type { JoinEvent } from '../federate/net/at.ts'
import { readable } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import type { Flag, Parsed } from './flags.ts'

const flag = (name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group: 'client' },
  ...more
})

/** `pare federate join` */
export const command: Command = {
  name: 'federate join',
  summary: 'take part in a federation with data that stays here',
  positionals: [{ name: 'https://server' }],
  flags: [
    flag('data', 'text', 'labelled data of this client: what other commands take', { hint: 'PATH' }),
    flag('invite', 'text', 'invitation of the organiser', { hint: 'FILE' }),
    flag('keep', 'text', 'folder for the key and for what is kept between rounds', {
      ...{ hint: 'FOLDER', default: 'INVITATION.client' }
    }),
    flag('floor', 'whole', 'take part in no secure sum that could be over fewer clients', { hint: 'N', default: 3 }),
    flag('seed', 'whole', 'draws the order of samples (default: by the key of this client)', { hint: 'N' }),
    { name: 'quiet', kind: 'boolean', group: 'output', about: 'print nothing but errors' },
    { name: 'debug', kind: 'boolean', group: 'output', about: 'show where an error comes from' }
  ],
  examples: ['pare federate join https://host:8090 --data private.npz --invite 001.json'],
  more: 'Updates leave this machine, samples never do. A certificate of your own is trusted with NODE_EXTRA_CA_CERTS=cert.pem.',
  run: async (given, at) => {
    const [url = ''] = given.positionals
    const invitation = readable(needed(given, 'invite'))
    const data = needed(given, 'data')
    const { joinFromFile } = await import('../node/federate/join.ts')
    const [folder, floor, seed] = [text(given, 'keep'), number(given, 'floor'), number(given, 'seed')]
    const ended = await joinFromFile({
      ...{ invitation, url, data, signal: at.signal },
      ...(folder === undefined ? {} : { folder }),
      ...(floor === undefined ? {} : { floor }),
      ...(seed === undefined ? {} : { seed: String(seed) }),
      told: (event) => {
        if (!isOn(given, 'quiet')) at.err.write(`  ${words(event)}\n`)
      }
    })
    if (!isOn(given, 'quiet'))
      at.err.write(
        `  ${ended.why}; ${ended.rounds} ${ended.rounds === 1 ? 'update' : 'updates'}, ${ended.up} bytes sent, ${ended.down} received\n`
      )
    return 0
  }
}

function needed(given: Parsed, name: string): string {
  const value = text(given, name)
  if (value !== undefined) return value
  throw new PareError('E_USAGE', `--${name} is needed`, { hint: command.examples?.[0] ?? '' })
}

function words(e: JoinEvent): string {
  if (e.kind === 'joined')
    return `joined run ${e.run.run.slice(0, 8)}${e.run.secure ? ', in which the server sees sums alone' : ''}`
  if (e.kind === 'waits') return `waits: ${e.why}`
  if (e.kind === 'trains') return `round ${e.round + 1}: trains`
  if (e.kind === 'sent') return `round ${e.round + 1}: sent ${e.bytes} bytes, loss ${e.loss.toPrecision(3)}`
  return `round ${e.round + 1}: left, ${e.why}`
}
