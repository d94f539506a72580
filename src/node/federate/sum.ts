/** The secure sum of a round, with clients by their keys and messages that can come twice. */
import { PareError } from '../../base/errors.ts'
import type { Round, Run } from '../../federate/index.ts'
import { fixedOf, type RunInfo, type SecureOptions } from '../../federate/net/forms.ts'
import { masked, setupOf } from '../../federate/net/in-sum.ts'
import { discreteGaussian } from '../../federate/privacy/gaussian.ts'
import { meanOfWords, modulusBits } from '../../federate/secure/fixed.ts'
import { type Step, steps } from '../../federate/secure/messages.ts'
import { secureServer } from '../../federate/secure/server.ts'
import { agreedOf } from '../../federate/secure/setup.ts'
import type { SecureCrypto } from '../../federate/secure/types.ts'
import type { Combined } from './combine.ts'
import type { Event, OpenTold } from './events.ts'
import type { ServerOptions } from './options.ts'

export interface SumOfRound {
  /** What a client is sent in a step; nothing until it has begun. Throws `E_LATE` for a client that dropped out. */
  messageFor(key: string, step: Step): Uint8Array | undefined
  /** Number of a client. Throws `E_LATE` for one that is not asked. */
  clientOf(key: string): number
  /** Takes a message; `false` where the same came before. Throws what the protocol refuses. */
  receive(client: number, step: Step, body: Uint8Array, sha256: string): Promise<boolean>
  /** Does again what a journal tells. */
  replay(e: Event, read: (sha256: string) => Uint8Array): Promise<void>
  step(): Step | 'done'
  /** Has everyone who is asked in this step answered? */
  isWhole(): boolean
  /** Has this client nothing more to do? */
  isOver(key: string): boolean
  advance(): Promise<void>
  /** Keys of those whose input is in the sum. */
  clients(): string[]
  /** `previous`: what the last round came to, of rules that ask. */
  combined(o: ServerOptions, previous?: Float32Array): Combined
}

export interface SumSetup {
  readonly crypto: SecureCrypto
  readonly info: RunInfo & { readonly secure: SecureOptions }
  readonly told: OpenTold
  readonly run: Run
  readonly round: Round
  /** Keys by number. */
  readonly cohort: readonly string[]
}

export async function startSum(s: SumSetup): Promise<SumOfRound> {
  const { crypto, info, told, run, round, cohort } = s
  const numbers = masked(new Float32Array(run.manifest.size), round.mask).length
  const setup = await setupOf(crypto, info, told, numbers)
  const server = secureServer({ crypto, agreed: await agreedOf(crypto, setup) })
  const seen = new Map<string, string>()
  const clientOf = (key: string): number => {
    const client = cohort.indexOf(key)
    if (client >= 0) return client
    throw new PareError('E_LATE', `this client is not asked in round ${told.round}`)
  }
  const receive = async (client: number, step: Step, body: Uint8Array, sha256: string): Promise<boolean> => {
    const before = seen.get(`${step} ${client}`)
    if (before === sha256) return false
    if (before !== undefined)
      throw new PareError('E_CONFLICT', `another message of this client was taken in step ${step}`)
    if (server.step !== step) throw new PareError('E_LATE', `step ${step} is over, or has not begun`)
    await server.receive(client, body)
    seen.set(`${step} ${client}`, sha256)
    return true
  }
  return {
    clientOf,
    receive,
    messageFor: (key, step) => {
      const client = clientOf(key)
      const [now, wanted] = [server.step, steps.indexOf(step)]
      const at = now === 'done' ? steps.length : steps.indexOf(now)
      if (at > wanted) throw new PareError('E_LATE', `step ${step} is over`)
      if (!server.asked.has(client) || (at < wanted && wanted - at > 1 && !server.senders.has(client)))
        throw new PareError('E_LATE', 'this client has dropped out of the sum')
      return at === wanted ? server.messageFor(client) : undefined
    },
    replay: async (e, read) => {
      if (e.kind === 'step') await receive(e.client, e.step, read(e.sha256), e.sha256)
      if (e.kind === 'advanced') await server.advance()
    },
    step: () => server.step,
    isWhole: () => [...server.asked].every((c) => server.senders.has(c)),
    isOver: (key) => {
      const client = clientOf(key)
      return (
        server.step === 'done' || !server.asked.has(client) || (server.step === 'unmask' && server.senders.has(client))
      )
    },
    advance: () => server.advance(),
    clients: () => server.result().clients.map((c) => cohort[c] as string),
    combined: (o) => meanOf(s, server.result().sum, o)
  }
}

/** The mean update of a sum; with noise where the run has a budget of privacy. */
function meanOf({ info, run, round, cohort }: SumSetup, sum: Uint32Array, o: ServerOptions): Combined {
  const f = fixedOf(info.secure)
  modulusBits(f, cohort.length)
  const { mean, weight } = meanOfWords(sum, f)
  const values = o.privacy ? noisy(mean, weight, info.secure, o.privacy, run.recipe.clientsPerRound) : mean
  const where = round.mask
  if (!where) return { mean: values, bounded: 0 }
  const out = new Float32Array(where.length)
  let next = 0
  for (let i = 0; i < out.length; i++) if (where[i] === 1) out[i] = values[next++] as number
  return { mean: out, bounded: 0 }
}

/**
 * Noise on the whole numbers of the sum. A client rounds each of d numbers by less than a step u, and the sum by half of one, so that a
 * client changes it by at most S / u + 1.5 √d steps.
 */
function noisy(
  mean: Float32Array,
  count: number,
  { clip, bits }: SecureOptions,
  { bound, noise }: { readonly bound: number; readonly noise: number },
  expected: number
): Float32Array {
  const step = (2 * clip) / (2 ** bits - 1)
  const reach = bound / step + 1.5 * Math.sqrt(mean.length)
  const draw = discreteGaussian(Math.ceil((noise * reach) ** 2))
  return mean.map((x) => (Math.round((x * count) / step) + draw()) * (step / expected))
}
