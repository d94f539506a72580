/**
 * What `compress` does: a strategy proposes candidates, each is made, scored on the parts that choose and timed against the
 * original; the objective chooses; the choice is measured on the test part, which nothing chose by.
 */
import { type Limit, limit } from '../base/deadline.ts'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { runsSingly, singly, singlyNote } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import { type Bench, benchFor, type Made, open } from './attempt.ts'
import { choose, type Wanted } from './choose.ts'
import { type Fitted, fitted } from './fitted.ts'
import { identityOf } from './identity.ts'
import type { CompressInput } from './input.ts'
import { type CompressResult, giveUp, type Proven, prove } from './prove.ts'
import { runStrategy } from './run.ts'
import { mayCascade, withCascades } from './strategies/cascades.ts'
import { strategies } from './strategies/index.ts'
import { only, type Problem, type Strategy } from './strategy.ts'
import { candidateOf, isMeasured, type Measured, measuredOf, standing, type Trial } from './trial.ts'

export { type Objective, objectives } from './choose.ts'
export type { CompressResult } from './prove.ts'

/** Compresses a model. Throws `E_RUN` when the original itself does not run, `E_USAGE` for a strategy that does not exist. */
export async function compress(input: CompressInput): Promise<CompressResult> {
  const strategy = strategyOf(input)
  const original = await open(input, input.original)
  let bench: Bench | undefined
  try {
    const isSingly = await runsSingly(original, input.data.selection)
    const given = isSingly ? oneByOne(input) : input
    const fit = await fitted(given, original)
    const bound = limit(input.signal, fit.searchMs?.())
    bench = benchFor({ ...fit.input, signal: bound.signal }, original)
    const result = await search(fit, original, bench, { strategy, bound })
    const notes = [...(isSingly ? [singlyNote] : []), ...fit.notes, ...result.report.notes]
    return {
      ...result,
      ...(fit.sampleMs === undefined ? {} : { sampleMs: fit.sampleMs }),
      ...(isSingly ? { isSingly } : {}),
      report: { ...result.report, notes }
    }
  } finally {
    bench?.clear()
    await original.close()
  }
}

function oneByOne(input: CompressInput): CompressInput {
  const { calibration, selection, test } = input.data
  const data = { calibration: singly(calibration), selection: singly(selection), test: singly(test) }
  return { ...input, data, ...(input.train ? { train: singly(input.train) } : {}) }
}

async function search(
  { input, searchMs }: Fitted,
  original: Session,
  bench: Bench,
  { strategy, bound }: { readonly strategy: Strategy; readonly bound: Limit }
): Promise<Proven> {
  // Of all that was made only the best so far is kept: it is most likely the choice.
  let best: { readonly key: string; readonly made: Made } | undefined
  let last: Made | undefined
  const { trials, notes } = await runStrategy({
    ...{ strategy, rng: input.rng.fork('strategy'), identity: await identityOf(input) },
    ...(input.journal ? { journal: input.journal } : {}),
    ...(searchMs ? { timeLeft: searchMs } : {}),
    measure: async (proposal, key) => {
      try {
        const { trial, made } = await bench.attempt(proposal, key)
        last = made
        return trial
      } catch (e) {
        if (!bound.isCause(e)) throw e
        return undefined
      }
    },
    finished: async (trial, all) => {
      input.onCandidate?.(candidateOf(trial, input.original.bytes))
      const made = last
      last = undefined
      if (!made) return
      const isBest = decide(input, all).winner?.key === trial.key
      const worse = isBest ? best?.made : made
      if (isBest) {
        best = { key: trial.key, made }
        input.onBest?.(candidateOf(trial, input.original.bytes), made.model)
      }
      if (worse) await bench.discard(worse)
    }
  })
  const { winner, candidates } = decide(input, trials)
  const said = [...notes, ...bench.notes()]
  if (!winner) return giveUp(input, original, measuredOf(trials), { candidates, notes: said })
  const made = best?.key === winner.key ? best.made : await remade(bench, winner)
  bench.clear()
  return prove(input, original, { ...winner, ...made }, { candidates, notes: said })
}

/** The winner so far, and all candidates with what speaks for and against them. */
function decide(
  input: CompressInput,
  trials: readonly Trial[]
): { readonly winner?: Measured; readonly candidates: CompressResult['report']['candidates'] } {
  const { bytes } = input.original
  const measured = measuredOf(trials)
  const all = measured.map((t) => standing(t, input.metrics[0].name, bytes))
  const { winner, verdicts } = choose(all, objectiveOf(input), input.maxDrop)
  const best = winner === undefined ? undefined : measured[winner]
  return {
    ...(best ? { winner: best } : {}),
    candidates: [
      ...measured.map((t, i) => candidateOf(t, bytes, i === winner, verdicts[i])),
      ...trials.filter((t) => !isMeasured(t)).map((t) => candidateOf(t, bytes))
    ]
  }
}

/** A recipe that the user gave is not in a race: it is taken unless it loses too much. */
const objectiveOf = (input: CompressInput): Wanted => (input.recipe ? 'given' : input.objective)

/** The model of a trial whose model is gone. Throws `E_INTERNAL` where its recipe makes another one. */
async function remade(bench: Bench, trial: Measured): Promise<Made> {
  const made = await bench.make(trial.proposal.name, trial.recipe)
  const { bytes, sha256 } = made.staged
  if (bytes === trial.bytes && sha256 === trial.sha256) return made
  throw new PareError('E_INTERNAL', `the recipe of ${trial.proposal.name} made another file than the one measured`, {
    facts: { measured: `${trial.bytes} bytes, ${trial.sha256}`, made: `${bytes} bytes, ${sha256}` },
    hint: 'compress again without --resume'
  })
}

function strategyOf(input: CompressInput): Strategy {
  if (input.recipe) return only({ name: 'the given recipe', recipe: input.recipe })
  const { strategy: name = strategies[0].name, model, target, objective, metrics, maxDrop, synthetic, original } = input
  const record = strategies.find((s) => s.name === name)
  const problem: Problem = {
    ...{ model, target, objective, metric: metrics[0].name, isCalibrated: !synthetic, bytes: original.bytes },
    isTrained: input.train?.labelled === true,
    isTimed: input.timeLeft !== undefined,
    ...(maxDrop === undefined ? {} : { maxDrop })
  }
  if (record && input.adaptive && mayCascade(problem)) return withCascades(record.make(problem), problem)
  if (record) return record.make(problem)
  const names = strategies.map((s) => s.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no strategy ${name}`, {
    facts: { strategies: names.join(', ') },
    ...(close === undefined ? {} : { hint: `did you mean ${close}?` })
  })
}
