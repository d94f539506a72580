/**
 * A process that runs recipes over random graphs and prints what becomes of them, one line of JSON each, with a line before
 * each run: what takes the process down is then known by the line that has no result.
 *
 *   node child.mjs graphs SEED FROM COUNT        graphs FROM … FROM + COUNT − 1 of a seed
 *   node child.mjs one                           one text, spelling and trial, from standard input
 *   node child.mjs shrink                        the same with the fault: smaller texts that have it
 */
import { writeSync } from 'node:fs'
import fc from 'fast-check'
import { rng } from '../../src/base/random.ts'
import { print } from '../../src/ir/print.ts'
import { parse } from '../../src/ir/text.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import { targets } from '../../src/targets/index.ts'
import { grow, type Plan, plans } from './grow.ts'
import { type Outcome, outcomeOf } from './judge.ts'
import { type Trial, trialsFor } from './recipes.ts'
import { shrunk } from './shrink.ts'
import { type Spelling, type Subject, subjectOf } from './subject.ts'

const say = (line: unknown): void => void writeSync(1, `${JSON.stringify(line)}\n`)

/** The plan of a graph by its number. */
function planOf(seed: number, number: number): Plan {
  const [plan] = fc.sample(plans, { seed: rng(`${seed}/${number}`).below(2 ** 31), numRuns: 1 })
  return plan as Plan
}

/** The graph of a plan, without steps that ONNX Runtime does not take; `undefined` where nothing is left. */
async function subjectFor(plan: Plan): Promise<Subject | undefined> {
  const without = new Set<number>()
  for (let tries = 0; tries <= plan.steps.length; tries++) {
    const model = grow(plan, without)
    if (!model) return undefined
    const text = settled(print(model))
    say({ graph: text })
    const found = await subjectOf(text, spellingOf(plan))
    if (!('unfit' in found)) return found
    if (process.env['PARE_RANDOM_UNFIT']) say({ unfit: found.unfit, text })
    // The step that is to blame is named by the prefix of its nodes; otherwise the last one goes.
    const named = Number(/\bs(\d+)_/.exec(found.unfit)?.[1] ?? Number.NaN)
    const last = plan.steps.findLastIndex((_, i) => !without.has(i))
    without.add(Number.isNaN(named) || without.has(named) ? last : named)
  }
  return undefined
}

/** The text of what the text says: numbers of constants are those that it holds, and types of outputs follow from them. */
function settled(text: string): string {
  const parsed = parse(text)
  const { graph } = parsed
  const made = new Set(graph.nodes.flatMap((n) => n.outputs))
  const open = new Map([...graph.values].map(([id, v]) => [id, made.has(id) ? { id, type: v.type } : v] as const))
  const inferred = inferShapes({ ...parsed, graph: { ...graph, values: open } }).graph.values
  const typed = [...open].map(([id, v]) => [id, graph.values.get(id)?.dtype ? (inferred.get(id) ?? v) : v] as const)
  return print({ ...parsed, graph: { ...graph, values: new Map(typed) } })
}

function spellingOf(plan: Plan): Spelling {
  const random = rng(`spelling ${plan.seed}`)
  // What cannot be written at an older opset keeps its own.
  return { ...(random.below(3) === 0 ? { opset: 13 + random.below(12) } : {}), nodes: random.below(4) === 0 }
}

async function graphs(seed: number, from: number, count: number): Promise<void> {
  const names = targets.map((t) => t.name)
  for (let number = from; number < from + count; number++) {
    say({ number })
    const plan = planOf(seed, number)
    const s = await subjectFor(plan)
    if (!s) continue
    for (const [i, trial] of trialsFor(plan.seed, names).entries()) {
      say({ number, trial: i, begins: trial, text: s.text, spelling: s.spelling })
      say({ number, trial: i, ...(await safely(s, trial)) })
    }
  }
}

async function safely(s: Subject, trial: Trial): Promise<Outcome> {
  try {
    return await outcomeOf(s, trial)
  } catch (error) {
    return { is: 'bad', why: `the judge fails: ${error instanceof Error ? error.stack : String(error)}` }
  }
}

interface Asked {
  readonly text: string
  readonly spelling: Spelling
  readonly trial: Trial
  readonly why?: string
}

async function asked(): Promise<Asked> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Asked
}

async function whyOf({ spelling, trial }: Asked, text: string): Promise<string | undefined> {
  const s = await subjectOf(text, spelling)
  const told = 'unfit' in s ? undefined : await safely(s, trial)
  return told?.is === 'bad' ? told.why : undefined
}

async function one(): Promise<void> {
  const a = await asked()
  const why = await whyOf(a, a.text)
  say(why === undefined ? { is: 'good' } : { is: 'bad', why })
}

/** Says each smaller graph that fails in the same way. */
async function shrink(): Promise<void> {
  const a = await asked()
  const begins = (why: string): string =>
    why
      .split(' ')
      .slice(0, 4)
      .join(' ')
      .replaceAll(/[\w~]*\d[\w~]*/g, '#')
  const wanted = begins(a.why ?? '')
  await shrunk(a.text, async (text) => {
    const why = await whyOf(a, text)
    const is = why !== undefined && begins(why) === wanted
    if (is) say({ smaller: text })
    return is
  })
}

const [mode, ...numbers] = process.argv.slice(2)
if (mode === 'one') await one()
else if (mode === 'shrink') await shrink()
else await graphs(...(numbers.map(Number) as [number, number, number]))
