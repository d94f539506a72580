/** `search`: a space of channels and types of weights, explored by strategies; the best is made, written and proven. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import type { Catalog } from '../../formats/types.ts'
import type { Recipe } from '../../passes/types.ts'
import { comparisonText } from '../../report/search-page.ts'
import type { Report, SearchEdge, SearchFinalist, SearchReport } from '../../report/types.ts'
import { compress } from '../../search/compress.ts'
import { fingerprint } from '../../search/identity.ts'
import { bestTried, comparisons, importanceOf, runReport, shown } from '../../search/space/outcome.ts'
import { meanOf } from '../../search/space/race.ts'
import { recipeOf } from '../../search/space/recipe.ts'
import type { SearchJournal, SearchLine } from '../../search/space/records.ts'
import {
  explorerFor,
  findEdge,
  type Searched,
  searchIdentity,
  searchSpace,
  spaceDefaults
} from '../../search/space/search.ts'
import { described } from '../../search/space/space.ts'
import { rungsOf, type Trials } from '../../search/space/trial.ts'
import type { Identity } from '../../search/trial.ts'
import type { Job, JobHooks, JobResult, SearchJob } from '../job.ts'
import { runtimeNotes } from '../runtimes.ts'
import { oldSearch, refuseAnother, refuseOld, searchJournalAt } from '../search-journal.ts'
import { trialPool } from '../trial-pool.ts'
import { isJobThread } from '../worker.ts'
import { allowedFor } from './allowed.ts'
import { identityOf, inputOf, write } from './compress.ts'
import { refuseCodes } from './ends.ts'
import { factsOf, openJob } from './open.ts'
import { partsOf } from './parts.ts'
import { refuseUnrunnable } from './runnable.ts'
import { type OpenedSearch, openSearch, type SearchFacts, spaceOptions } from './search-open.ts'
import { sizedModel } from './sizes.ts'
import { runNotes, shapesOn } from './synthetic.ts'
import { checkOf } from './written.ts'

/** Searches, and writes the best; nothing where it loses more than the job allows. */
export async function searchJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const { out, search: asked } = job
  if (out === undefined || !asked)
    throw new PareError('E_USAGE', 'no output or no search is named', { hint: '--out FILE' })
  for (const name of asked.strategies) explorerFor(name)
  const isBudgeted = Object.keys(asked.budget).length > 0
  if (!isBudgeted && job.maxDrop === undefined)
    throw new PareError('E_USAGE', 'a search needs a budget, or a drop that is allowed', {
      hint: '--budget.bytes 0.2, --budget.macs 0.5, --budget.latency 0.5, or --max-drop 1%'
    })
  // Nothing is read or measured for a search that its journal refuses.
  const path = `${out}.search`
  const old = job.resume ? oldSearch(path) : undefined
  if (!job.resume && !job.force) refuseOld(path)
  const allowed = allowedFor(job)
  const o = await openJob(job, catalog)
  refuseUnrunnable(o)
  refuseCodes(o)
  const parts = await partsOf(job, o)
  if (parts.synthetic)
    throw new PareError('E_USAGE', 'a search measures models: it needs samples', { hint: '--data PATH' })
  const shapes = await shapesOn(o, parts.all)
  const sizes = { ...sizedModel(job.model, o.model, o.bytes, { shapes, cost: o.cost }), metrics: {} }
  const known: Report = { ...o.report, data: parts.report, before: sizes }
  hooks.opened?.(known, factsOf(o, sizes))
  const began = performance.now()
  const base = await baseIdentity(job, await identityOf(job, o), parts)
  if (old) refuseAnother(path, old, base)
  const opened = await openSearch(job, hooks, catalog, old && factsIn(old.lines), { o, parts })
  const prepareMs = performance.now() - began
  const given = { ...asked, seed: job.seed ?? 0, budgets: asked.budget }
  const journal = searchJournalAt(path, { resume: job.resume ?? false, force: job.force ?? false })
  const lines = await journal.open(searchIdentity(base, opened.prepared, given))
  if (!factsIn(lines)) await journal.append({ kind: 'fact', name: 'facts', value: opened.facts })
  const workers = await workersFor(job, asked, opened)
  try {
    const { ends } = allowed
    const edge = isBudgeted ? undefined : await edgeFor(job, { opened, workers, lines, journal })
    const options = { ...given, ...(edge ? { edge } : {}) }
    const searched = await searchSpace(opened.prepared, workers, options, {
      ...{ journal, lines, ctx: opened.ctx },
      ...(ends ? { mayGoOn: () => ends.left() > 0 } : {})
    })
    const report = searchReport(opened, searched, options, job, prepareMs)
    const notes = [
      ...o.notes,
      ...opened.said,
      ...opened.notes,
      ...runNotes(o),
      ...runtimeNotes(o, o.target),
      ...report.comparisons.map(comparisonText)
    ]
    const all = { ...known, notes, search: report }
    return asked.only
      ? { unmet: false, report: all }
      : await proven(job, hooks, opened, searched, { known: all, out, edge })
  } finally {
    await workers.close()
  }
}

async function baseIdentity(job: Job, base: Identity, parts: OpenedSearch['parts']): Promise<Identity> {
  return {
    ...base,
    'max drop': job.maxDrop ?? 'none',
    'calibration data': await fingerprint(parts.calibration),
    'selection data': await fingerprint(parts.selection),
    space: JSON.stringify(spaceOptions(job.search)),
    budget: JSON.stringify(job.search?.budget ?? {}),
    least: job.search?.least ?? 'none',
    ahead: job.search?.ahead ?? 1,
    trials: job.search?.trials ?? 0
  }
}

function factsIn(lines: readonly SearchLine[]): SearchFacts | undefined {
  const fact = lines.find((l) => l.kind === 'fact' && l.name === 'facts')
  return fact?.kind === 'fact' ? (fact.value as SearchFacts) : undefined
}

/** What the drop that is allowed means: from the journal, or measured and written there. */
async function edgeFor(
  { maxDrop = 0, search }: Job,
  at: {
    readonly opened: OpenedSearch
    readonly workers: Trials
    readonly lines: readonly SearchLine[]
    readonly journal: SearchJournal
  }
): Promise<SearchEdge> {
  const { ctx, prepared } = at.opened
  const known = at.lines.find((l) => l.kind === 'fact' && l.name === 'edge')
  if (known?.kind === 'fact') return known.value as SearchEdge
  ctx.progress('measuring what the drop allows', 0, 1)
  const value = await findEdge(prepared, at.workers, { cost: search?.least ?? 'bytes', maxDrop }, ctx.signal)
  await at.journal.append({ kind: 'fact', name: 'edge', value })
  return value
}

/** Threads, where they are asked for and the program can be started again; else this thread. */
async function workersFor(job: Job, asked: SearchJob, { prepared, facts, notes }: OpenedSearch): Promise<Trials> {
  const { workers = 1, ahead } = asked
  if (typeof workers === 'string') {
    const { remoteTrials } = await import('./search-remote.ts')
    return remoteTrials(workers, { job, facts, problem: prepared.problem }, ahead)
  }
  const count = Math.min(workers, ahead)
  const program = process.argv[1]
  if (count === 1 || program === undefined || !isJobThread()) {
    if (count > 1) (notes as string[]).push('trials ran in one thread: several are started by the command alone')
    return prepared.open()
  }
  return trialPool(program, { job, facts, problem: prepared.problem }, count)
}

// ---------------------------------------------------------------- what came out

/** Trials in pictures, at most. */
const mostPoints = 400

function searchReport(
  { prepared, parts }: OpenedSearch,
  { runs, costsOf, goal }: Searched,
  asked: SearchJob & { readonly edge?: SearchEdge },
  job: Job,
  prepareMs: number
): SearchReport {
  const { space } = goal
  const what = asked.edge?.cost
  const all = runs.flatMap(({ strategy, seed, tried }) =>
    tried.flatMap((t) =>
      t.failed === undefined
        ? [
            {
              strategy,
              seed,
              k: t.k,
              harm: meanOf(t.losses),
              costs: costsOf(t),
              point: t.point,
              isWhole: t.isWhole,
              score: t.score
            }
          ]
        : []
    )
  )
  const importance = importanceOf(
    space.units.map((u) => u.choices.length),
    all
  )
  const reports = runs.map((r) => runReport(r, costsOf, what))
  const best = bestRun(runs, asked.edge)
  return {
    budgets: asked.budget,
    ...(job.maxDrop === undefined ? {} : { maxDrop: job.maxDrop }),
    ...(asked.edge ? { edge: asked.edge } : {}),
    ahead: asked.ahead,
    workers: typeof asked.workers === 'string' ? asked.ahead : (asked.workers ?? 1),
    rungs: rungsOf(prepared.samples),
    freshN: parts.selection.size - prepared.samples,
    units: space.units.map(({ id, kind, choices }, i) => ({
      ...{ id, kind, choices },
      ...(importance[i] === undefined ? {} : { importance: importance[i] })
    })),
    runs: reports,
    comparisons: comparisons(reports, what),
    points: shown(
      all.map(({ score: _, ...p }) => ({ ...p, values: [p.harm, p.costs['bytes'] ?? p.costs['macs'] ?? 0] })),
      mostPoints
    ).map(({ values: _, ...p }) => p),
    finalists: [],
    chosen: best ? described(space, best.best.point) : {},
    prepareMs
  }
}

/** The run whose best does the least harm on fresh samples; of those that an edge allows, the one of the least cost. */
function bestRun(
  runs: Searched['runs'],
  edge: SearchEdge | undefined
): { readonly run: Searched['runs'][number]; readonly best: NonNullable<ReturnType<typeof bestTried>> } | undefined {
  const all = runs.flatMap((run) => {
    const best = bestTried(run.tried)
    return best ? [{ run, best, harm: run.fresh?.harm ?? best.score }] : []
  })
  const allowed = edge ? all.filter((a) => a.harm <= edge.harm) : []
  if (allowed.length > 0) return allowed.toSorted((a, b) => a.best.score - b.best.score)[0]
  return all.toSorted((a, b) => a.harm - b.harm)[0]
}

/** Makes the best by its recipe, proves it on the test part and writes it. */
async function proven(
  job: Job,
  hooks: JobHooks,
  opened: OpenedSearch,
  searched: Searched,
  { known, out, edge }: { readonly known: Report; readonly out: string; readonly edge: SearchEdge | undefined }
): Promise<JobResult> {
  const { o, parts, metrics, prepared } = opened
  const found = bestRun(searched.runs, edge)
  if (!found && searched.runs.every((run) => run.tried.length === 0))
    throw new PareError('E_CONSTRAINT', 'no trial was done within --max-time', {
      hint: 'give more time; --resume goes on with what was measured before the trials'
    })
  if (!found) throw new PareError('E_CONSTRAINT', 'no point gave a model that runs')
  const { samples } = spaceDefaults
  const between: Recipe = parts.train?.labelled ? [['finetune', {}]] : []
  const { exclude, leastKept } = spaceOptions(job.search)
  const recipe = recipeOf(prepared.material, found.best.point, { samples, exclude, leastKept }, between)
  const scratch = await mkdtemp(join(tmpdir(), 'pare-'))
  try {
    const looked = checkOf(job, o, hooks, { data: parts.calibration, recipe })
    const given = { ...job, recipe }
    const input = inputOf(given, o, parts, hooks, { scratch, ...looked })
    const shapes = await shapesOn(o, parts.all)
    const result = await compress({ ...input, shapes, metrics, objective: 'balanced', recipe })
    const [candidate] = result.report.candidates
    const costs = searched.costsOf(found.best)
    const finalist: SearchFinalist | undefined = candidate && {
      ...{ strategy: found.run.strategy, seed: found.run.seed, k: found.best.k, costs },
      harm: found.run.fresh?.harm ?? meanOf(found.best.losses),
      drop: candidate.drop?.[metrics[0].name]?.value ?? 0,
      dropError: 0,
      bytes: candidate.ratios.bytes,
      chosen: result.chosen !== undefined
    }
    const search = { ...(known.search as SearchReport), finalists: finalist ? [finalist] : [] }
    const notes = [...known.notes, ...result.report.notes, ...looked.notes, ...offBudget(search)]
    const before = { ...known.before, ...result.report.before }
    const report = { ...known, ...result.report, notes, before, search }
    if (!result.chosen) return { unmet: true, report }
    return { unmet: false, report: await write(given, o, allowedFor(job), parts, hooks, report, result, out) }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** Where the file is not as large as was reckoned. */
function offBudget({ finalists, budgets }: SearchReport): string[] {
  return finalists.flatMap(({ bytes, costs }) => {
    const guess = costs.bytes
    if (guess === undefined) return []
    const text = `bytes were reckoned as ${guess.toPrecision(3)} of the original, and are ${bytes.toPrecision(3)}`
    const isOver = budgets.bytes !== undefined && bytes > budgets.bytes
    return isOver ? [`${text}: above the budget of ${budgets.bytes}`] : Math.abs(bytes / guess - 1) > 0.02 ? [text] : []
  })
}
