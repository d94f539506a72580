/** Distillation: the input is the teacher, the result a smaller student trained towards what the teacher says. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { opFor } from '../../ops/index.ts'
import { initialise } from '../../train/index.ts'
import type { Model } from '../../types.ts'
import { definePass, parseOptions } from '../pass.ts'
import type { Blocker } from '../prune/groups.ts'
import { type Narrowed, narrow } from '../prune/narrow.ts'
import { pruneBlocks } from '../prune/prune-blocks.ts'
import { repaired } from '../prune/repair.ts'
import { simplify } from '../simplify/index.ts'
import type { Context } from '../types.ts'
import { parameterCount } from './learn.ts'
import { refuseRounded } from './loss.ts'
import { trainingFields } from './options.ts'
import { taught, teachingFields } from './taught.ts'

const { patience: _, ...fields } = trainingFields

const options = {
  student: z
    .string()
    .optional()
    .describe('a model with the same inputs and outputs, trained already or not; or a network in words (.txt)'),
  depth: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe(
      'instead: the teacher with this share of its residual blocks, the most important ones, repaired as prune-blocks does it'
    ),
  width: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('instead, also with depth: the teacher with this share of its channels, the most important ones'),
  loss: z
    .strictObject({
      ...teachingFields,
      features: z.array(z.string()).default([]).describe('values inside to match: a name, or student’s=teacher’s name'),
      featureWeight: z.number().min(0).default(1).describe('weight of each of them in the loss')
    })
    .prefault({}),
  ...fields
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Trains a smaller model to say what the given one says. */
export const distill = definePass({
  name: 'distill',
  summary: 'train a smaller student to say what the model says: from a file, or of fewer channels or blocks',
  group: 'training',
  needs: ['train'],
  uses: ['selection'],
  options,
  run: async (teacher, o, ctx) => {
    const { model: student, widths } = await studentOf(teacher, o, ctx)
    tellSizes(teacher, student, ctx)
    const { student: _file, depth: _depth, width: _width, loss, ...common } = o
    const features = loss.features.map((pair) => {
      const [own = pair, other = own] = pair.split('=')
      return [own, other] as const
    })
    const { model, ...told } = await taught(
      teacher,
      student,
      { pass: 'distill', options: common, ...loss, features },
      ctx
    )
    const ratio = parameterCount(teacher) / parameterCount(student)
    const parameters = { teacher: parameterCount(teacher), student: parameterCount(student), ratio }
    ctx.plan({ parameters, ...(widths.length > 0 ? { widths } : {}), ...told })
    return model
  }
})

// ---------------------------------------------------------------- the student

interface Student {
  readonly model: Model
  /** Empty where the student was not made by width. */
  readonly widths: readonly Narrowed[]
}

async function studentOf(teacher: Model, { student, depth, width }: Options, ctx: Context): Promise<Student> {
  const isDerived = depth !== undefined || width !== undefined
  if ((student === undefined) !== isDerived)
    throw new PareError('E_OPTION', 'distill needs a student: a file, or a width or depth', {
      where: 'distill',
      hint: 'give either --student FILE, or --width SHARE, --depth SHARE or both'
    })
  if (student === undefined) return derived(teacher, depth, width, ctx)
  if (!ctx.load) throw new PareError('E_OPTION', 'there are no files here to open a student from', { where: 'student' })
  const opened = await ctx.load(student)
  refuseRounded(opened, 'distill')
  const begun = opened.origin?.untrained ? initialise(opened, String(ctx.rng.fork('weights').next())).model : opened
  return { model: begun, widths: [] }
}

async function derived(
  teacher: Model,
  depth: number | undefined,
  width: number | undefined,
  ctx: Context
): Promise<Student> {
  refuseRounded(teacher, 'distill --width or --depth')
  const shallow = depth === undefined ? teacher : await shallower(teacher, depth, ctx)
  return width === undefined ? { model: shallow, widths: [] } : narrower(shallow, width, ctx)
}

/** Without the blocks that matter least, and what is left repaired. */
async function shallower(teacher: Model, depth: number, ctx: Context): Promise<Model> {
  const options = parseOptions(pruneBlocks, { ratio: 1 - depth })
  return pruneBlocks.run(teacher, options, { ...ctx, plan: () => {} })
}

/**
 * Shapes that are computed are folded first: a size that cannot be written anew holds its channels. Equal constants are
 * left apart: a shared one ties the channels of all who read it.
 */
async function narrower(given: Model, width: number, ctx: Context): Promise<Student> {
  const wide = await simplify.run(given, parseOptions(simplify, { merge: false }), ctx)
  const { model: narrowed, kept, groups, blockers } = narrow(wide, width)
  const without = blockers.filter(({ node }) => node && !opFor(node)?.channels)
  if (narrowed === wide) throw cannotNarrow(width, groups, blockers)
  for (const { node, value, reason } of without) if (node) ctx.refuse(node, `the channels of ${value} stay: ${reason}`)
  const model = ctx.data.train ? await repaired(narrowed, wide, kept, ctx.data.train, ctx) : narrowed
  const told = groups.map(({ name, channels, kept: left }) => `${left} of ${channels} in ${name}`)
  const rest = told.length > mostTold ? ` and so on for ${told.length - mostTold} more groups` : ''
  ctx.note(
    `distill: the student has ${parameterCount(model)} of ${parameterCount(given)} parameters; channels: ${told.slice(0, mostTold).join(', ')}${rest}`
  )
  return { model, widths: groups }
}

const mostTold = 6

function cannotNarrow(width: number, groups: readonly Narrowed[], blockers: readonly Blocker[]): PareError {
  const reasons = blockers.map((b) => `${b.node?.name || b.value} ${b.reason}`)
  const facts: Record<string, string> =
    groups.length > 0
      ? { channels: groups.map((g) => `${g.name} ${g.channels}`).join(', ') }
      : { 'what holds them': [...new Set(reasons)].slice(0, mostTold).join('; ') }
  return new PareError('E_UNSUPPORTED', `no student of width ${width} can be derived from this model`, {
    where: 'width',
    facts,
    hint: groups.length > 0 ? 'give a smaller width' : 'give a student of your own: --student FILE'
  })
}

/** Ratios of size over which a teacher helps. */
const [leastRatio, mostRatio] = [2, 5]

function tellSizes(teacher: Model, student: Model, ctx: Context): void {
  const ratio = parameterCount(teacher) / Math.max(1, parameterCount(student))
  if (ratio > mostRatio)
    ctx.note(
      `the teacher has ${ratio.toFixed(1)} × the parameters of the student, and ${leastRatio} to ${mostRatio} × teaches best: distil a middle one of about ${Math.round(Math.sqrt(parameterCount(teacher) * parameterCount(student)))} parameters first, and let it teach`
    )
  else if (ratio < leastRatio)
    ctx.note(`the teacher has only ${ratio.toFixed(1)} × the parameters of the student: there is little to gain`)
}
