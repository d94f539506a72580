/** `verify` and `bench`: two files as they are, measured side by side. */
import { PareError } from '../../base/errors.ts'
import { agreementBeside } from '../../data/metrics.ts'
import type { Catalog } from '../../formats/types.ts'
import { evaluate, metricDrops, metricIntervals } from '../../measure/evaluate.ts'
import { packScores } from '../../measure/gate.ts'
import { type Judging, worstPart } from '../../measure/judging.ts'
import { sampleTime } from '../../measure/pacing.ts'
import { costsVary, samplesTimed } from '../../measure/timed.ts'
import type { Report, RuntimeVersion } from '../../report/types.ts'
import { runsSingly, singly, singlyNote } from '../../runtime/batches.ts'
import type { Runner, Session } from '../../runtime/types.ts'
import { isKept } from '../../search/choose.ts'
import { conforms, misfitText } from '../../targets/conforms.ts'
import type { Target } from '../../targets/types.ts'
import type { Dataset, Measurement, Model } from '../../types.ts'
import { sha256File } from '../files.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { type ModelFile, type Runners, runnersFor, runtimeNotes, scorer, sourceOf, targetOfModel } from '../runtimes.ts'
import { type Allowed, allowedFor, layerData, pacedFor, processesFor, timingFor, whileAllowed } from './allowed.ts'
import { areAlike, endsOf, hasOpenSizes, ownFeeds } from './ends.ts'
import { comparedEngines, otherEngine } from './engines.ts'
import { saturationNotes } from './host.ts'
import { comparedLayers, layerAdvice } from './layers.ts'
import { factsOf, fileOf, judgingFor, type Opened, type OpenedModel, openJob, openModel, openSeen } from './open.ts'
import { testData } from './parts.ts'
import { refuseUnrunnable, tryOut } from './runnable.ts'
import { sizedModel } from './sizes.ts'
import { stagesTold } from './staged.ts'
import { runNotes, shapesOn } from './synthetic.ts'
import { firstFeeds, processOf, processRatios, timeSessions } from './timing.ts'

const defaultSeconds = 3

/** Measures what a compressed model is worth against its original, on all samples. */
export async function verifyJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const path = otherOf(job)
  const allowed = allowedFor(job)
  const o = await openJob(job, catalog)
  refuseUnrunnable(o)
  const { web, notes } = await otherEngine(job, o)
  const { all: samples, guessed, report: described } = await testData(job, o)
  const sizes = { ...sizedModel(job.model, o.model, o.bytes, { shapes: await shapesOn(o, samples) }), metrics: {} }
  hooks.opened?.({ ...o.report, data: described, before: sizes }, factsOf(o, sizes))
  await tryOut(job, o, job.model, samples, hooks)
  const { metrics, notes: said } = await judgingFor(job, o, samples)
  const second = await openSecond(job, o, path, samples, hooks, catalog)
  const { model } = second
  return withSessions(o, [firstOf(job, o), second], async ([original, other]) => {
    const isSingly = await runsSingly(original, samples)
    const asRun = isSingly ? singly(samples) : samples
    const { data: all, sampleMs } = await pacedFor(job, allowed, [original, other], asRun)
    const judged = await judge(o, metrics, [original, other], all, hooks)
    const pair = await measurePair(job, o, second, [original, other], all, hooks, { allowed, sampleMs })
    const few = layerData(job, allowed, all, sampleMs)
    // Layers of two models are compared on the very values that both are given.
    const isCompiled = [o.model, model].some((m) => m.origin?.compiled)
    const isAlike = !isCompiled && areAlike(endsOf(o.model), o) && areAlike(endsOf(model), o)
    const layers = isAlike
      ? await whileAllowed(allowed, 'layers were not compared', hooks, (h) =>
          comparedLayers(o, model, few, h, { alone: job.layers === true })
        )
      : undefined
    const engines =
      web && isAlike
        ? await whileAllowed(allowed, 'engines were not compared', hooks, (h) =>
            comparedEngines(web, o.engine, [fileOf(job, o), second], few, h)
          )
        : undefined
    const staged = await whileAllowed(allowed, 'stages were not looked at', hooks, (h) =>
      stagesTold({ ...o, ...runnersOf(second) }, model, original, all, h, job.seconds ?? defaultSeconds)
    )
    const { maxDrop } = job
    const first = metrics[0].name
    const drop = judged.drop[first]
    const met = maxDrop === undefined || (drop !== undefined && isKept(drop, maxDrop))
    return {
      unmet: !met,
      report: {
        ...o.report,
        ...pair,
        data: { ...described, testN: all.size },
        before: { ...pair.before, metrics: judged.before },
        after: { ...pair.after, metrics: judged.after },
        drop: judged.drop,
        // Scores of a part of the samples cannot be paired with those of another report.
        ...(described.synthetic || all.size < samples.size ? {} : { scores: judged.scores }),
        layers: layers ?? [],
        ...(engines ? { engines } : {}),
        ...(staged?.stages ? { stages: staged.stages } : {}),
        ...(judged.agreement ? { agreement: judged.agreement } : {}),
        ...(maxDrop === undefined ? {} : { constraint: { metric: first, maxDrop, met } }),
        notes: [
          ...pair.notes,
          ...allowed.notes,
          ...(samples.notes ?? []),
          ...said,
          ...judged.notes,
          ...notes,
          ...(isCompiled ? [compiledNote] : isAlike ? [] : [unlikeNote]),
          ...saturationNotes(model, second.target),
          ...layerNotes(job, layers ?? []),
          ...(staged?.notes ?? []),
          ...(costsVary([o.model, model]) ? [variesNote] : []),
          ...(described.synthetic ? [] : layerAdvice(layers ?? [])),
          ...guessed,
          ...runNotes(o),
          ...(isSingly ? [singlyNote] : []),
          ...kindNotes(all, described.synthetic)
        ]
      }
    }
  })
}

/** Latency of one model, or of two in one interleaved run. */
export async function benchJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const allowed = allowedFor(job)
  const o = await openJob(job, catalog)
  refuseUnrunnable(o)
  const { all, guessed, report: described } = await testData(job, o)
  const sizes = { ...sizedModel(job.model, o.model, o.bytes, { shapes: await shapesOn(o, all) }), metrics: {} }
  const data = { ...described, testN: Math.min(1, described.testN) }
  hooks.opened?.({ ...o.report, data, before: sizes }, factsOf(o, sizes))
  await tryOut(job, o, job.model, all, hooks)
  if (job.other !== undefined) {
    const second = await openSecond(job, o, job.other, all, hooks, catalog)
    return withSessions(o, [firstOf(job, o), second], async ([original, other]) => {
      const sampleMs = await sampleTime([original, other], all)
      const pair = await measurePair(job, o, second, [original, other], all, hooks, { allowed, sampleMs })
      return {
        unmet: false,
        report: { ...o.report, ...pair, data, notes: [...pair.notes, ...allowed.notes, ...guessed, ...runNotes(o)] }
      }
    })
  }
  return withSessions(o, [firstOf(job, o)], async ([session]) => {
    const sampleMs = await sampleTime([session], all)
    const [time] = await timed(job, { ...o, varies: costsVary([o.model]) }, [['model', session]], all, hooks, allowed)
    const process = await aloneIn(o, firstOf(job, o), session, all, hooks, processesFor(allowed, 1, sampleMs))
    const before = { ...sizes, ...process, ...(time ? { latencyMs: time.latency } : {}) }
    return {
      unmet: false,
      report: {
        ...o.report,
        data,
        before,
        notes: [...o.notes, ...runtimeNotes(o, o.target), ...allowed.notes, ...guessed, ...runNotes(o)]
      }
    }
  })
}

/** The first model, with its runtime. */
const firstOf = (job: Job, o: Opened): File => ({ ...o, ...fileOf(job, o) })

function otherOf(job: Job): string {
  if (job.other === undefined) throw new PareError('E_USAGE', 'verify needs the compressed model')
  return job.other
}

/** The second model, with the runtime of its own target: a comparison may be across formats. */
type Second = OpenedModel & ModelFile & Runners & { readonly target: Target; readonly threads: number }

/** Opens the second model, looked at as the first is before it runs. Errors say that it is this file. */
async function openSecond(
  job: Job,
  o: Opened,
  path: string,
  data: Dataset,
  hooks: JobHooks,
  { formats, targets }: Catalog
): Promise<Second> {
  const second = await openModel(path, formats)
  const target = targetOfModel(second.model, o.target, targets)
  const { engine, measured } = target === o.target ? o : await runnersFor(target)
  try {
    refuseUnrunnable(second)
    await tryOut(job, { ...second, inputs: o.inputs }, path, data, hooks)
  } catch (cause) {
    if (!(cause instanceof PareError)) throw cause
    const { code, message, where, facts, hint } = cause
    throw new PareError(code, message, {
      ...(where === undefined ? {} : { where }),
      ...(hint === undefined ? {} : { hint }),
      facts: { file: path, ...facts },
      cause
    })
  }
  return { ...second, path, target, threads: o.threads, engine, ...(measured ? { measured } : {}) }
}

const variesNote = `samples cost differently: times are means of ${samplesTimed} samples`

const runnersOf = ({ engine, measured }: Runners): Runners => ({ engine, ...(measured ? { measured } : {}) })

/** Times sessions of the target's runtime, interleaved; nothing where that is not here. */
const timed = async (
  job: Job,
  o: Pick<Opened, 'rng'> & { readonly measured?: Runner | undefined; readonly varies?: boolean },
  sessions: Parameters<typeof timeSessions>[0],
  data: Dataset,
  hooks: JobHooks,
  allowed: Allowed
): Promise<Awaited<ReturnType<typeof timeSessions>>> =>
  o.measured
    ? timeSessions(sessions, data, {
        rng: o.rng,
        hooks,
        varies: o.varies ?? false,
        ...timingFor(allowed, job.seconds ?? defaultSeconds)
      })
    : []

type Sessions<F extends readonly File[]> = { readonly [K in keyof F]: Session }

type File = ModelFile & Runners & { readonly threads: number }

/** Opens the user's files themselves where the runtime can, seen in the terms of the job's model, and closes whatever was opened. */
async function withSessions<const F extends readonly File[], R>(
  o: Opened,
  files: F,
  use: (sessions: Sessions<F>) => Promise<R>
): Promise<R> {
  const open: Session[] = []
  try {
    for (const file of files) open.push(await openSeen(file, file, o))
    return await use(open as unknown as Sessions<F>)
  } finally {
    for (const s of open) await s.close()
  }
}

// ---------------------------------------------------------------- accuracy

interface Judged {
  readonly before: Measurement['metrics']
  readonly after: Measurement['metrics']
  readonly drop: NonNullable<Report['drop']>
  /** Of the second model. */
  readonly scores: NonNullable<Report['scores']>
  readonly agreement?: NonNullable<Report['agreement']>
  /** The worst part of the outputs. */
  readonly notes: readonly string[]
}

async function judge(
  o: Opened,
  metrics: Judging['metrics'],
  sessions: readonly [Session, Session],
  data: Dataset,
  hooks: JobHooks
): Promise<Judged> {
  const agreement = agreementBeside(o.outputs, metrics)
  const parts = metrics[0].parts ?? []
  const [was = {}, is = {}] = await evaluate(sessions, {
    dataset: data,
    metrics: [...metrics, ...agreement, ...parts],
    signal: hooks.signal,
    progress: (_, done, total, pace) => hooks.progress('running both models', done, total, pace)
  })
  const same = agreement.length > 0 ? metricIntervals(is, agreement)['agreement'] : undefined
  return {
    before: metricIntervals(was, metrics),
    after: metricIntervals(is, metrics),
    drop: metricDrops(was, is, metrics),
    scores: Object.fromEntries(metrics.map((m) => [m.name, packScores(is[m.name] ?? [], m)])),
    notes: worstPart(metrics[0], metricDrops(was, is, parts)),
    ...(same ? { agreement: { value: same.value, n: same.n } } : {})
  }
}

const unlikeNote =
  'inputs or outputs of the two differ in codes, names or order of axes: they were converted, and layers were not compared'

const compiledNote = 'a compiled model has no layers that could be compared'

const layerNotes = (job: Job, layers: Report['layers']): string[] =>
  job.layers && layers.some((l) => l.sqnrDb !== undefined) && layers.every((l) => l.outputSqnrDb === undefined)
    ? ['the model is too large to be opened once a layer: what each does to the output was not measured']
    : []

const kindNotes = (all: Dataset, synthetic: boolean): string[] => [
  ...(synthetic ? ['the inputs are random: they say nothing of accuracy; give --data'] : []),
  ...(all.size < 100 && !synthetic ? [`${all.size} samples: the intervals are wide`] : [])
]

// ---------------------------------------------------------------- speed and memory

/** A file in fresh processes of its own runtime; nothing where that runs it at other sizes than those that stand in it. */
async function aloneIn(
  o: Opened,
  file: File,
  session: Session,
  data: Dataset,
  hooks: JobHooks,
  repeats: number
): ReturnType<typeof processOf> {
  const own = endsOf(file.model)
  if (scorer(file).can.fixedSizes && hasOpenSizes(own)) return {}
  const feeds = ownFeeds(await firstFeeds(session, data), own, o)
  return processOf(sourceOf(scorer(file), file), feeds, file, hooks, repeats)
}

async function measurePair(
  job: Job,
  o: Opened,
  second: Second,
  [original, other]: readonly [Session, Session],
  data: Dataset,
  hooks: JobHooks,
  { allowed, sampleMs }: { readonly allowed: Allowed; readonly sampleMs: number }
): Promise<Pick<Report, 'before' | 'ratios' | 'notes' | 'output' | 'machine'> & { readonly after: Measurement }> {
  const { path, model, bytes } = second
  const [a, b] = await timed(
    job,
    { ...o, ...(second.measured ? {} : { measured: undefined }), varies: costsVary([o.model, model]) },
    [
      ['original', original],
      ['other', other]
    ],
    data,
    hooks,
    allowed
  )
  const repeats = processesFor(allowed, 2, sampleMs)
  const was = await aloneIn(o, firstOf(job, o), original, data, hooks, repeats)
  const is = await aloneIn(o, second, other, data, hooks, repeats)
  const shapes = await shapesOn(o, data)
  const latency = (l: typeof a): Pick<Measurement, 'latencyMs'> => (l ? { latencyMs: l.latency } : {})
  return {
    output: { path, sha256: await sha256File(path) },
    machine: { ...o.report.machine, ...(isElsewhere(o, second) ? { other: versionOf(scorer(second)) } : {}) },
    before: {
      ...sizedModel(job.model, o.model, o.bytes, { shapes, cost: o.cost }),
      ...latency(a),
      ...was,
      metrics: {}
    },
    after: { ...sizedModel(path, model, bytes, { shapes, cost: o.cost }), ...latency(b), ...is, metrics: {} },
    ratios: { bytes: bytes / o.bytes, ...(b?.ratio ? { latency: b.ratio } : {}), ...processRatios(was, is) },
    notes: [
      ...o.notes,
      ...runtimeNotes(o, o.target),
      ...(second.target === o.target ? [] : runtimeNotes(second, second.target)),
      ...(isElsewhere(o, second)
        ? [`the first ran in ${spelledVersion(scorer(o))}, the second in ${spelledVersion(scorer(second))}`]
        : []),
      ...targetNotes(model, second.target)
    ]
  }
}

const isElsewhere = (o: Runners, second: Runners): boolean => scorer(o).name !== scorer(second).name
const versionOf = ({ name, version }: Runner): RuntimeVersion => ({ name, version })
const spelledVersion = ({ name, version }: Runner): string => `${name} ${version}`

/** What of a model its target does not promise to load. */
export function targetNotes(model: Model, target: Target): string[] {
  const { origin } = model
  if (origin && origin.format !== target.format)
    return [`${target.name} takes files of format ${target.format}; this model is of format ${origin.format}`]
  // A compiled model has no opset, and its code was made for its target.
  if (origin?.compiled) return []
  const opset = Number(origin?.version ?? model.opset)
  const { min, max } = target.opset
  const misfits = conforms(model, target)
  return [
    ...(opset >= min && opset <= max
      ? []
      : [`${target.name} takes opset ${min} to ${max}; this model is opset ${opset}`]),
    ...(misfits.length === 0 ? [] : [`${target.name} does not take what is in this model: ${misfitText(misfits)}`])
  ]
}
