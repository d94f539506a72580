/**
 * A type for every weight, by measurement. Every weight is stored alone in every type, and the change of the model's output
 * is measured. Such changes add up over weights (weights.ts), so that the best assignment for every size is found as a
 * knapsack (knapsack.ts). These assignments are a front; models along it are built and measured until the smallest one that
 * keeps the bound is found (walk.ts).
 */
import { z } from 'zod'
import { PareError } from '../../../base/errors.ts'
import { allGraphs, constants } from '../../../ir/graph.ts'
import { tensorBytes } from '../../../ir/tensor.ts'
import { heldSamples } from '../../../observe/held.ts'
import type { Model } from '../../../types.ts'
import { definePass } from '../../pass.ts'
import type { Comparison, Context, Recipe } from '../../types.ts'
import { type Assignment, applyAssignment } from './apply.ts'
import { applyCodes, codeParts, codesRecipe, codeTypes } from './codes.ts'
import { type Point, paretoFront } from './knapsack.ts'
import { mixLatency } from './latency.ts'
import { explain } from './report.ts'
import { type Method, type MixOptions, type MixType, mixTypes, type Part, partsOf, storedTypes } from './types.ts'
import { isSafe, kneeOf, nearest, type Walked, walk } from './walk.ts'
import { type Disturbed, disturbances, disturbed, sensitivities } from './weights.ts'

/** Types that trade bytes for loss. */
const sizeTypes: readonly MixType[] = ['float16', 'int8', 'int6', 'int5', 'palette5', 'palette4', 'int4', 'palette3']
/** Ways to compute in integers. */
const latencyTypes: readonly MixType[] = ['int8', 'dynamic']

/** Types by objective: those that are taken by default, and those that can be. */
const typesOf = {
  size: { usual: sizeTypes, all: storedTypes },
  codes: { usual: codeTypes, all: codeTypes },
  latency: { usual: latencyTypes, all: latencyTypes }
} as const satisfies Readonly<Record<string, Readonly<Record<'usual' | 'all', readonly MixType[]>>>>

type Objective = keyof typeof typesOf

/** Throws `E_OPTION` for a type that the objective has no use for. */
function checkTypes(types: readonly MixType[], objective: Objective): void {
  const all: readonly MixType[] = typesOf[objective].all
  const odd = types.find((t) => !all.includes(t))
  if (odd)
    throw new PareError('E_OPTION', `type ${odd} is none of objective ${objective}`, {
      where: 'types',
      hint: `for ${objective}: ${all.join(', ')}`
    })
}

const share = (about: string) => z.number().gt(0).max(1).optional().describe(about)

/** Chooses the precision of each layer by what it costs and what it saves. */
export const mixPrecision = definePass({
  name: 'mix-precision',
  summary: 'give each layer the precision that it needs, by measurement, within a bound on the loss',
  group: 'integers',
  narrows: true,
  uses: ['calibration', 'selection'],
  after: ['simplify', 'fuse'],
  options: {
    objective: z
      .enum(['size', 'codes', 'latency'])
      .default('size')
      .describe(
        'size: types of weights, at float speed; codes: bits of the weights that int8 kernels read; latency: which layers compute in int8, and how'
      ),
    maxDrop: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .meta({ format: 'share' })
      .describe('loss that is allowed; by default one percentage point, or any where there is a budget'),
    budget: z
      .strictObject({
        bytes: share('bytes of all constants, after / before'),
        latency: share('latency of one sample, after / before')
      })
      .prefault({})
      .describe('what must be reached'),
    leastBytes: z
      .boolean()
      .default(false)
      .describe(
        'the fewest bytes that keep the bound; otherwise bytes and loss are weighed within it: losing all that is allowed counts like twice the bytes'
      ),
    types: z
      .array(z.enum(mixTypes))
      .min(1)
      .optional()
      .describe(
        `types to choose from beside float: ${mixTypes.join(', ')}; for size by default ${sizeTypes.join(', ')}; for codes ${codeTypes.join(', ')}; for latency int8 (ranges from calibration) and dynamic (ranges taken at run time)`
      ),
    method: z
      .enum(['auto', 'rtn', 'hqq', 'gptq'])
      .default('auto')
      .describe('how weights are rounded; auto: gptq with calibration data, rtn without'),
    samples: z.int().min(1).default(3000).describe('samples that models are measured on, at most'),
    probes: z.int().min(1).default(64).describe('samples that each layer alone is measured on, at most'),
    exclude: z.array(z.string()).default([]).describe('nodes that stay float: operator types or name patterns with *'),
    minElements: z.int().min(1).default(128).describe('smaller weights stay as they are'),
    assignment: z
      .partialRecord(z.enum(storedTypes), z.array(z.string()))
      .optional()
      .describe('node names by type: what was found before, to be applied without measuring')
  },
  run: (model, options, ctx) => {
    const method: Method = options.method === 'auto' ? (ctx.data.calibration ? 'gptq' : 'rtn') : options.method
    if (options.assignment) return applyAssignment(model, options.assignment, { ...options, method }, ctx)
    const bound = options.maxDrop ?? (Object.keys(options.budget).length > 0 ? undefined : defaultDrop)
    const types = options.types ?? typesOf[options.objective].usual
    checkTypes(types, options.objective)
    const wanted = { ...options, types, method, ...(bound === undefined ? {} : { maxDrop: bound }) }
    if (options.objective === 'latency') return mixLatency(model, wanted, ctx)
    return mixed(
      model,
      options.objective === 'codes' ? codes(model, wanted, ctx) : stored(model, wanted, ctx),
      wanted,
      ctx
    )
  }
})

const defaultDrop = 0.01
/** Calibration samples that rounding looks at. */
const mostSamples = 512

/** What has a choice, and what becomes of an assignment. */
interface Choices {
  readonly parts: readonly Part[]
  make(a: Assignment, ctx: Context): Promise<Model>
  recipe(a: Assignment): Recipe
}

const stored = (model: Model, o: MixOptions, ctx: Context): Choices => {
  const { method, exclude, minElements } = o
  return {
    parts: partsOf(model, o, ctx),
    make: (a, c) => applyAssignment(model, a, o, c),
    recipe: (assignment) => [['mix-precision', { assignment, method, exclude, minElements }]]
  }
}

function codes(model: Model, o: MixOptions, ctx: Context): Choices {
  if (!ctx.data.calibration)
    throw new PareError('E_DATA', 'mix-precision for codes calibrates: it needs samples', { hint: '--data PATH' })
  return {
    parts: codeParts(model, o, ctx),
    make: (a, c) => applyCodes(model, a, o, c),
    recipe: (a) => codesRecipe(a, o)
  }
}

/** All that is known of the choices. */
interface Table extends Choices {
  readonly made: readonly (readonly (readonly Disturbed[])[])[]
  readonly errors: readonly (readonly number[])[]
  readonly front: readonly Point[]
}

async function mixed(model: Model, choices: Choices, o: MixOptions, ctx: Context): Promise<Model> {
  if (o.budget.latency !== undefined)
    throw new PareError('E_OPTION', 'types of weights do not change the latency', {
      where: 'budget.latency',
      hint: '--objective latency'
    })
  const { parts } = choices
  if (parts.length === 0) return model
  checkSize(parts)
  const calibration = ctx.data.calibration && (await heldSamples(ctx.data.calibration, mostSamples))
  const made = await disturbances(model, parts, o.method, calibration, ctx)
  const errors = await sensitivities(model, made, o.probes, ctx)
  const front = paretoFront(
    parts.map((p, l) => p.ways.map((w, t) => ({ cost: w.bytes, harm: errors[l]?.[t] as number })))
  )
  const table: Table = { ...choices, made, errors, front }
  // Rounding by data looks at the same samples again.
  const again = o.method === 'gptq' && calibration ? { ...ctx, data: { ...ctx.data, calibration } } : ctx
  const { point, result, measured, seen } = await decide(model, table, o, again)
  if (result === model) ctx.note('mix-precision: no weight can be stored in fewer bits within the bound')
  explain({ parts, errors, front, point, measured, seen }, ctx)
  ctx.replay?.(choices.recipe(assignmentOf(parts, point)))
  return result
}

interface Decided {
  readonly point: Point
  readonly result: Model
  readonly measured: Comparison
  readonly seen: Walked['seen']
}

/** Models that are built and measured at the end, at most. */
const mostBuilds = 4
const mostLooks = 9

async function decide(model: Model, t: Table, o: MixOptions, ctx: Context): Promise<Decided> {
  const { measure } = ctx
  if (!measure)
    throw new PareError('E_DATA', 'mix-precision measures models: it needs samples', { hint: '--data PATH' })
  const front = withinBudget(model, t, o)
  const compare = (made: Model): Promise<Comparison> => measure(made, { beside: model, samples: o.samples })
  const built = new Map<Point, Model>()
  const build = async (p: Point): Promise<Comparison> => {
    ctx.progress('building what was found', built.size, mostBuilds)
    const made = await t.make(assignmentOf(t.parts, p), ctx)
    built.set(p, made)
    return compare(made)
  }
  const { maxDrop } = o
  if (maxDrop === undefined) {
    const point = front.at(-1) as Point
    const measured = await build(point)
    return { point, result: built.get(point) as Model, measured, seen: [{ ...measured, point }] }
  }
  let looks = 0
  const look = (p: Point): Promise<Comparison> => {
    ctx.progress('looking for the bound', looks++, mostLooks)
    const all = t.made.flatMap((ways, l) => ways[p.picks[l] as number] ?? [])
    return compare(disturbed(model, all))
  }
  const bounds = { maxDrop, near: 0.01 }
  const rough = await walk(front, look, { ...bounds, start: nearest(front, maxDrop), stride: 4, most: mostLooks })
  const seen = [...rough.seen]
  // Rounded together, layers make up for those before them: the real model may be better than the sum of its parts.
  if (rough.best && !o.leastBytes) {
    const point = kneeOf(front, rough.best, rough.seen, maxDrop)
    const measured = { ...(await build(point)), point }
    seen.push(measured)
    if (isSafe(measured, seen, maxDrop)) return { point, result: built.get(point) as Model, measured, seen }
  }
  const start = rough.best ? front.indexOf(rough.best.point) : front.length - 1
  const real = await walk(front, build, { ...bounds, start, prior: seen, stride: 2, most: mostBuilds })
  if (!real.best)
    throw new PareError(
      'E_CONSTRAINT',
      `no assignment loses at most ${(100 * maxDrop).toFixed(1)} points within the budget`,
      {
        hint: 'allow a larger loss or more bytes, or more types'
      }
    )
  const { point } = real.best
  return { point, result: built.get(point) as Model, measured: real.best, seen: [...seen, ...real.seen] }
}

/** Codes of every weight in every type are held while the front is walked. */
const mostBytes = 2 * 2 ** 30

function checkSize(parts: readonly Part[]): void {
  // Integers take a byte or less, palettes two.
  const bytes = parts.reduce((n, p) => n + 2 * p.elements * (p.ways.length - 1), 0)
  if (bytes > mostBytes)
    throw new PareError('E_LIMIT', `weights in every type would take ${(bytes / 2 ** 30).toFixed(1)} GB of memory`, {
      where: 'mix-precision',
      hint: 'fewer --types, or --exclude what needs no choice'
    })
}

/** The part of the front that the budget allows. Throws `E_CONSTRAINT` where that is nothing. */
function withinBudget(model: Model, { parts, front }: Table, o: MixOptions): readonly Point[] {
  if (o.budget.bytes === undefined) return front
  const float = parts.reduce((n, p) => n + p.bytes, 0)
  const total = constantBytes(model)
  const most = o.budget.bytes * total - (total - float)
  const inside = front.filter((p) => p.cost <= most)
  if (inside.length > 0) return inside
  const least = ((front[0]?.cost ?? 0) + total - float) / total
  throw new PareError('E_CONSTRAINT', `these types reach ${least.toFixed(3)} of the bytes, not ${o.budget.bytes}`, {
    where: 'budget.bytes',
    hint: 'allow types of fewer bits'
  })
}

function assignmentOf(parts: readonly Part[], point: Point): Assignment {
  const out: Partial<Record<MixType, string[]>> = {}
  for (const [l, part] of parts.entries()) {
    const type = part.ways[point.picks[l] as number]?.type
    if (type === undefined || type === 'float') continue
    const list = out[type] ?? []
    for (const node of part.nodes) list.push(node)
    out[type] = list
  }
  return out
}

function constantBytes(model: Model): number {
  const seen = new Set<unknown>()
  let bytes = 0
  for (const graph of allGraphs(model))
    for (const { data } of constants(graph)) {
      if (seen.has(data.bytes)) continue
      seen.add(data.bytes)
      bytes += tensorBytes(data)
    }
  return bytes
}
