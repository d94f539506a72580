/**
 * Trials of a search on other machines: what a thread of trials begins with, sent over Redis. Models and data are files under
 * the hash of their content; a setup names them and holds plain options, and nothing that could be run.
 */
import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs'
import { basename, dirname, join, relative, sep } from 'node:path'
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { type DataDescription, dataDescription } from '../../data/description.ts'
import { metrics } from '../../data/metrics.ts'
import { storedTypes } from '../../passes/quantize/mix/types.ts'
import { costNames } from '../../search/space/space.ts'
import type { TrialJob, TrialResult, Trials } from '../../search/space/trial.ts'
import { fileBytes } from '../files.ts'
import { type DataSource, isDataset, type Job } from '../job.ts'
import { putFiles, remoteRuns } from '../remote/driver.ts'
import { serveRemote } from '../remote/worker.ts'
import { type TrialSetup, trialPool } from '../trial-pool.ts'

/** Names of files below a worker's folder: no way out of it, and no programs. */
const fileName = z
  .string()
  .max(500)
  .regex(/^\w[\w.,-]*(\/\w[\w., -]*)*$/)
  .refine((name) => !isProgram(name), 'a program')
const isProgram = (name: string): boolean => /\.[mc]?[jt]sx?$/i.test(name)

const share = z.number().gt(0).max(1)
const trialSearch = z.strictObject({
  strategies: z.array(z.string().max(40)).max(20),
  trials: z.int().min(1).max(100_000),
  seeds: z.int().min(1).max(100),
  budget: z.strictObject({ bytes: share.optional(), macs: share.optional(), latency: share.optional() }),
  least: z.enum(costNames).optional(),
  ahead: z.int().min(1).max(256),
  types: z.array(z.enum(storedTypes)).optional(),
  sparsity: z.array(share).max(100).optional(),
  ranks: z.array(share).max(100).optional(),
  channels: z.boolean().optional(),
  leastKept: share.optional(),
  exclude: z.array(z.string().max(1000)).max(10_000).optional()
})

/** Data of a setup: where it is, as a name of its files, or two with a comma between. */
const sentData = dataDescription
const setup = z.strictObject({
  files: z
    .array(z.strictObject({ name: fileName, hash: z.string().regex(/^[0-9a-f]{64}$/) }))
    .min(1)
    .max(200_000),
  job: z.strictObject({
    model: fileName,
    target: z.string().max(100).optional(),
    seed: z.int().min(0).optional(),
    threads: z.int().min(1).max(1024).optional(),
    metric: z.enum(Object.keys(metrics) as [string, ...string[]]).optional(),
    judged: z.array(z.string().max(1000)).max(1000).optional(),
    maxDrop: z.number().min(0).lt(1).optional(),
    read: z.record(z.string().max(100), z.union([z.string().max(1000), z.number(), z.boolean()])).optional(),
    data: z.strictObject({
      data: sentData.optional(),
      evaluation: sentData.optional(),
      calibration: sentData.optional(),
      train: sentData.optional()
    }),
    search: trialSearch
  }),
  facts: z.strictObject({
    harms: z.array(z.array(z.number())),
    kernels: z.array(z.tuple([z.string(), z.number()])).optional()
  }),
  problem: z.string().max(200)
})
type Setup = z.output<typeof setup>

const trialJob: z.ZodType<TrialJob> = z.strictObject({
  problem: z.string().max(200),
  k: z.int().min(0).max(1e6),
  point: z.array(z.int().min(0).max(1e6)).max(5000),
  rung: z.int().min(-1).max(100),
  from: z.int().min(0),
  to: z.int().min(1)
})

const trialResult: z.ZodType<TrialResult> = z.strictObject({
  losses: z.base64().max(64e6),
  drop: z.strictObject({ sum: z.number(), squares: z.number() }),
  ms: z.number().min(0)
})

// ---------------------------------------------------------------- the search's end

/** Trials on the workers of a queue. Throws `E_UNSUPPORTED` for what cannot be sent, as programs that read data. */
export async function remoteTrials(url: string, { job, facts, problem }: TrialSetup, slots: number): Promise<Trials> {
  const files = new Map<string, string>()
  const { search, model } = job
  const { only: _, workers: _own, ...searched } = search ?? failed()
  const data = Object.fromEntries(
    Object.entries(job.data ?? {}).flatMap(([part, from]) =>
      from === undefined ? [] : [[part, sentOf(from as DataSource, part, files)]]
    )
  )
  const name = `model/${basename(model)}`
  files.set(name, model)
  if (typeof job.metric === 'object' || (job.metric !== undefined && !Object.hasOwn(metrics, job.metric)))
    throw unsendable('a metric of a program', 'metric')
  const { target, seed, threads, metric, judged, maxDrop, read } = job
  const names = [...files]
  const hashes = await putFiles(
    url,
    names.map(([, path]) => fileBytes(path))
  )
  const sent = setup.safeParse({
    files: names.map(([n], i) => ({ name: n, hash: hashes[i] })),
    job: { model: name, target, seed, threads, metric, judged, maxDrop, read, data, search: searched },
    facts,
    problem
  })
  if (!sent.success)
    throw unsendable(`${sent.error.issues[0]?.path.join('.')}: ${sent.error.issues[0]?.message}`, job.model)
  const plain = JSON.parse(JSON.stringify(sent.data)) as Setup
  return remoteRuns<TrialJob, TrialResult>({ url, setup: plain, answer: trialResult, slots })
}

const failed = (): never => {
  throw new PareError('E_INTERNAL', 'no search to send')
}

const unsendable = (what: string, where: string): PareError =>
  new PareError('E_UNSUPPORTED', `workers on other machines are sent files and options, and this is neither: ${what}`, {
    where,
    hint: '--workers N runs trials in threads of this machine'
  })

/** A description with names of files in place of paths; what they name is put into `files`. */
function sentOf(from: DataSource, part: string, files: Map<string, string>): DataDescription {
  if (isDataset(from)) throw unsendable('a Dataset of a program', part)
  const put = (path: string): string => {
    if (isProgram(path)) throw unsendable(`the program ${path}`, part)
    const name = `${part}/${basename(path)}`
    if (statSync(path).isFile()) files.set(name, path)
    else
      for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
        const at = join(entry.parentPath, entry.name)
        if (entry.isFile()) files.set(`${name}/${relative(path, at).split(sep).join('/')}`, at)
      }
    return name
  }
  const isFile = (text: unknown): text is string => typeof text === 'string' && existsSync(text)
  return {
    ...from,
    path: existsSync(from.path) ? put(from.path) : from.path.split(',').map(put).join(','),
    ...(isFile(from.preprocess) ? { preprocess: put(from.preprocess) } : {}),
    ...(isFile(from.labels) ? { labels: put(from.labels) } : {}),
    ...(isFile(from.tokenizer) ? { tokenizer: put(from.tokenizer) } : {})
  }
}

// ---------------------------------------------------------------- the worker's end

export interface TrialWorkerOptions {
  readonly url: string
  /** The program that Pare's command is: its threads run the trials. */
  readonly program: string
  readonly folder: string
  readonly slots: number
  readonly lease: number
  /** Called once the queue is reached. */
  ready?(): void
  done?(id: string, code: string): void
}

/** Answers trials until the signal. */
export const serveTrialsOver = (o: TrialWorkerOptions, signal: AbortSignal): Promise<void> =>
  serveRemote<Setup, TrialJob, TrialResult>(
    {
      ...{ url: o.url, folder: join(o.folder, 'files'), slots: o.slots, lease: o.lease, setup, job: trialJob },
      ...(o.ready ? { ready: o.ready } : {}),
      ...(o.done ? { done: o.done } : {}),
      open: async (given, fetch) => trialPool(o.program, await localSetup(given, fetch, o.folder), o.slots)
    },
    signal
  )

/** With the files of a setup in a folder of their own, and paths of that in place of their names. */
async function localSetup(
  { files, job, facts, problem }: Setup,
  fetch: (hash: string) => Promise<string>,
  folder: string
): Promise<TrialSetup> {
  const home = join(folder, `study-${problem.replace(/\W/g, '')}-${process.pid}-${Date.now()}`)
  for (const { name, hash } of files) {
    const path = join(home, name)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    symlinkSync(await fetch(hash), path)
  }
  const names = new Set(files.flatMap(({ name }) => [name, ...parentsOf(name)]))
  const at = (name: string): string => {
    if (!names.has(name))
      throw new PareError('E_DATA', 'this setup names a file that it does not hold', { where: name })
    return join(home, name)
  }
  const local = (d: DataDescription): DataDescription => ({
    ...d,
    path: names.has(d.path) ? at(d.path) : d.path.split(',').map(at).join(','),
    ...(typeof d.preprocess === 'string' && d.preprocess.includes('/') ? { preprocess: at(d.preprocess) } : {}),
    ...(d.labels === undefined ? {} : { labels: at(d.labels) }),
    ...(d.tokenizer === undefined ? {} : { tokenizer: at(d.tokenizer) })
  })
  const data = Object.fromEntries(Object.entries(job.data).map(([part, d]) => [part, local(d as DataDescription)]))
  const made = { ...job, command: 'search', line: '', model: at(job.model), data } as unknown as Job
  return { job: made, facts: facts as TrialSetup['facts'], problem }
}

const parentsOf = (name: string): string[] => {
  const up = dirname(name)
  return up === '.' ? [] : [up, ...parentsOf(up)]
}
