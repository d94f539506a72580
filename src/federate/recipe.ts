/** All that a federation does, as one piece of JSON; nothing in it is code. */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { parseOptions } from '../base/options.ts'
import type { Codec, LocalOptions, ServerRule } from './types.ts'

const share = z.number().gt(0).max(1)

const codec = z.discriminatedUnion('codec', [
  z.strictObject({ codec: z.literal('float') }),
  z.strictObject({
    codec: z.literal('quantize'),
    bits: z.int().min(2).max(8).default(8),
    group: z.int().min(1).max(65_536).optional(),
    random: z.boolean().optional()
  }),
  z.strictObject({ codec: z.literal('top-k'), share: share.default(0.05) }),
  z.strictObject({ codec: z.literal('stc'), share: share.default(0.05) })
])

const local = z.strictObject({
  epochs: z.int().min(1).max(1000).default(5).describe('times that a client sees its samples in a round'),
  batch: z.int().min(1).max(65_536).default(50).describe('samples in a step'),
  rate: z.number().positive().default(0.05).describe('learning rate'),
  momentum: z.number().min(0).max(0.9999).default(0),
  decay: z.number().min(0).max(1).default(0),
  proximal: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe('FedProx: weight of the distance to the model that came down'),
  clip: z.number().positive().optional().describe('longest gradient')
})

const betas = z.tuple([z.number().min(0).max(0.9999), z.number().min(0).max(0.9999)]).default([0.9, 0.99])

const server = z.discriminatedUnion('rule', [
  z.strictObject({ rule: z.literal('fedavg'), rate: z.number().positive().default(1) }),
  z.strictObject({
    rule: z.literal('fedavgm'),
    rate: z.number().positive().default(1),
    momentum: z.number().min(0).max(0.9999).default(0.9)
  }),
  ...(['fedadam', 'fedyogi'] as const).map((rule) =>
    z.strictObject({
      rule: z.literal(rule),
      rate: z.number().positive().default(0.01),
      betas,
      tau: z.number().positive().default(0.001)
    })
  )
])

const aggregate = z.strictObject({
  rule: z
    .enum(['mean', 'trimmed-mean', 'median', 'krum', 'centred-clipping'])
    .default('mean')
    .describe('all but the mean hold every update of a round in memory, and cannot be had with secure sums'),
  share: z.number().min(0).lt(0.5).default(0.2).describe('share of the clients that may be hostile'),
  norm: z
    .union([z.number().positive(), z.literal('median')])
    .optional()
    .describe('longest update; median: twice the median length in the round')
})

const prune = z.strictObject({
  to: z.number().gt(0).lt(1).describe('share of the weights that are zero in the end'),
  from: z.int().min(0).describe('first round that begins with zeros'),
  until: z.int().min(0).describe('round from which all of them are zero'),
  every: z.int().min(1).default(1).describe('rounds from one step to the next')
})

const quantize = z.strictObject({
  bits: z.int().min(3).max(8).default(8).describe('bits of weights'),
  from: z.int().min(0).default(0).describe('first round that trains with rounded weights')
})

const distil = z.strictObject({
  clients: z.int().min(1).max(100_000).default(10).describe('clients that send class scores of the public samples'),
  bits: z.int().min(2).max(8).default(8).describe('bits of a score'),
  epochs: z.int().min(1).max(1000).default(5).describe('times that the student sees the public samples'),
  batch: z.int().min(1).max(65_536).default(50),
  rate: z.number().positive().default(0.001).describe('learning rate of the student, of Adam'),
  temperature: z.number().min(1).max(20).default(3).describe('how much scores are softened')
})

const compress = z.strictObject({
  maxDrop: z.number().min(0).lt(1).default(0.01).describe('loss of accuracy that is allowed'),
  objective: z.enum(['balanced', 'size', 'latency', 'macs']).default('balanced')
})

const recipe = z.strictObject({
  rounds: z.int().min(1).max(1_000_000).default(100),
  clientsPerRound: z.int().min(1).max(100_000).default(10),
  local: local.prefault({}),
  server: server.default({ rule: 'fedavg', rate: 1 }),
  aggregate: aggregate.prefault({}).describe('what the updates of a round come to'),
  up: codec.default({ codec: 'quantize', bits: 8 }).describe('how updates are coded'),
  down: codec
    .default({ codec: 'quantize', bits: 8 })
    .describe('how the model is coded; top-k and stc: its changes, for clients that take part in every round'),
  feedback: z.boolean().default(true).describe('what coding lost is added to what is sent next'),
  mask: share.optional().describe('share of the weights that updates hold: half by what moved last, half at random'),
  bound: z.number().positive().max(1e6).default(256).describe('largest number of an update that is taken'),
  prune: prune.optional(),
  quantize: quantize.optional().describe('train with weights rounded to codes, and end with such weights'),
  distil: distil.optional().describe('a student learns on public data what clients say of it, behind the last round'),
  compress: compress.optional().describe('what the job makes of the model behind the last round')
})

/** How a student learns what clients say. */
export type Distil = z.output<typeof distil>

/** What the schema gives, in the words of `types.ts`. */
export interface FederationRecipe {
  readonly rounds: number
  readonly clientsPerRound: number
  readonly local: LocalOptions
  readonly server: ServerRule
  readonly aggregate: z.output<typeof aggregate>
  readonly up: Codec
  readonly down: Codec
  readonly feedback: boolean
  readonly mask?: number
  readonly bound: number
  readonly prune?: z.output<typeof prune>
  readonly quantize?: z.output<typeof quantize>
  readonly distil?: Distil
  readonly compress?: z.output<typeof compress>
}

/** A recipe with its defaults. Throws `E_OPTION` for what does not exist or fit. */
export function parseRecipe(given: unknown): FederationRecipe {
  const made = parseOptions({ name: 'federate', options: recipe }, given) as FederationRecipe
  const { prune: p, quantize: q } = made
  if (q && q.from >= made.rounds)
    throw new PareError(
      'E_OPTION',
      `rounding of weights begins in round ${q.from}, and the last is ${made.rounds - 1}`,
      { where: 'quantize.from', hint: 'rounds are counted from 0' }
    )
  if (p && p.until < p.from)
    throw new PareError('E_OPTION', `pruning until round ${p.until} begins in round ${p.from}`, {
      where: 'prune.until'
    })
  if (p && p.until >= made.rounds)
    throw new PareError('E_OPTION', `pruning ends in round ${p.until}, and the last is ${made.rounds - 1}`, {
      where: 'prune.until',
      hint: 'rounds are counted from 0'
    })
  return made
}

/** Do clients train with rounded weights in this round? */
export const isRoundedIn = ({ quantize: q }: FederationRecipe, round: number): boolean =>
  q !== undefined && round >= q.from

/** Does the model go down as its largest changes? Then whoever misses a round has lost the thread. */
export const sendsDifferences = ({ down }: Pick<FederationRecipe, 'down'>): boolean =>
  down.codec === 'top-k' || down.codec === 'stc'

/** Do updates lose what a residual brings back? Rounding at random loses nothing in the mean. */
export const keepsResidual = ({ up, feedback, mask }: FederationRecipe): boolean =>
  feedback &&
  (mask !== undefined || up.codec === 'top-k' || up.codec === 'stc' || (up.codec === 'quantize' && up.random === false))
