/** Models that commands make of one, measured beside it on samples that nothing chose by. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { evaluate, interleave, metricDrops, metricFor, metricIntervals, rng, splitData } from '../dist/index.js'
import { load, nodeRunner, openDataset } from '../dist/node/index.js'
import { models } from './peers/models.mjs'

export const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

/** Commands that see no data. */
const blind = ['simplify', 'fuse']

/**
 * A model of docs/benchmarks.md. `choosing`: the flags that give a command its data, of which it takes the calibration and
 * the selection part; `test`: other samples.
 */
export async function opened(root, name, folder) {
  const m = models.find((x) => x.name === name)
  if (!m) throw new Error(`there is no model ${name}, but ${models.map((x) => x.name).join(', ')}`)
  const path = join(root, m.file)
  const { graph } = await load(path)
  const inputs = graph.inputs.map((id) => graph.values.get(id)).filter((v) => !v.data)
  const named = inputs.map(({ id, dtype, shape }) => ({ name: id, dtype, shape }))
  const open = (file) => openDataset({ path: join(root, file), preprocess: m.preprocess }, named)
  const test = m.train ? await open(m.data) : splitData(await open(m.data), 0).test
  const preprocess = typeof m.preprocess === 'object' ? join(folder, `${name}.preprocess.json`) : m.preprocess
  if (preprocess !== m.preprocess) writeFileSync(preprocess, JSON.stringify(m.preprocess))
  const choosing = ['--data', join(root, m.train ?? m.data), '--preprocess', preprocess]
  return { name, path, bytes: statSync(path).size, test, folder, choosing }
}

/**
 * Runs a chain of commands on a model; each step is kept in a folder under the name of all so far, and not run again. Those in
 * `trains` are given all of the training data, the others what they may choose by.
 */
export function chained(m, folder, commands, trains = ['finetune']) {
  let [path, key, notes] = [m.path, '', []]
  for (const [command, ...flags] of commands) {
    key += `${command}-${flags.join('-')}.`.replace(/[^\w.-]+/g, '')
    const out = join(folder, `${short(key)}onnx`)
    if (!existsSync(out)) {
      const [, train, ...reading] = m.choosing
      const all = trains.includes(command) ? ['--train-data', train, ...reading] : m.choosing
      const data = blind.includes(command) ? [] : all
      const args = [pare, command, path, ...flags, ...data, '--out', out, '--json']
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
      if (status !== 0) throw new Error(`pare ${args.slice(1).join(' ')}: status ${status}\n${stderr}`)
      notes = JSON.parse(stdout).notes
    }
    path = out
  }
  return { path, notes }
}

/** File systems take names of up to 255 bytes. */
const short = (key) =>
  key.length < 180 ? key : `${key.slice(0, 150)}${createHash('sha256').update(key).digest('hex').slice(0, 12)}.`

/** Runs a chain of commands, each `[command, ...flags]`, on a model; returns what results. */
export function madeBy(m, name, commands) {
  let { path } = m
  const notes = []
  for (const [i, [command, ...flags]] of commands.entries()) {
    const out = join(m.folder, `${m.name}.${name.replace(/\W+/g, '-')}.${i}.onnx`)
    const data = blind.includes(command) ? [] : m.choosing
    const args = [pare, command, path, ...flags, ...data, '--out', out, '--force', '--json']
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
    if (status !== 0) throw new Error(`pare ${args.slice(1).join(' ')}: status ${status}\n${stderr}`)
    notes.push(...JSON.parse(stdout).notes)
    path = out
  }
  return { name, path, bytes: statSync(path).size, notes }
}

/**
 * A row for every model: bytes and latency over the original's, top-1, the drop paired by sample, e² = ‖y − r‖² / ‖r‖² of
 * the outputs, and how many points fewer than the model named `other`, paired too.
 */
export async function compared(m, made, other) {
  const metrics = [metricFor('top1'), metricFor('relativeError')]
  const sessions = await openAll([m.path, ...made.map((x) => x.path)])
  const [float, ...scores] = await evaluate(sessions, { dataset: m.test, metrics })
  const timed = await latencies(m, sessions)
  for (const s of sessions) await s.close()
  const beside = scores[made.findIndex((x) => x.name === other)]
  return made.map((x, i) => ({
    model: x.name,
    bytes: (x.bytes / m.bytes).toFixed(3),
    'top-1': percent(metricIntervals(scores[i], metrics).top1.value),
    'drop (points)': points(metricDrops(float, scores[i], metrics).top1),
    ...(beside && { [`behind ${other} (points)`]: points(metricDrops(beside, scores[i], metrics).top1) }),
    'e²': meanSquare(scores[i].relativeError).toExponential(2),
    latency: ratio(timed[i])
  }))
}

const openAll = (files) => Promise.all(files.map((path) => nodeRunner().open({ path })))

/** One sample a run, all models interleaved. */
async function latencies(m, sessions) {
  for await (const { inputs } of m.test.batches({ batch: 1 })) {
    const entries = sessions.map((s, i) => ({ name: String(i), run: () => s.run(inputs) }))
    const timed = await interleave(entries, rng(0), { minSeconds: 10, minRuns: 200 })
    return timed.slice(1).map((t) => t.ratio)
  }
}

/** Latency of one sample of the second session over the first's, by turns: `{ median, low, high }`. */
export async function ratioOf(test, sessions) {
  for await (const { inputs } of test.batches({ batch: 1 })) {
    const entries = sessions.map((s, i) => ({ name: String(i), run: () => s.run(inputs) }))
    const timed = await interleave(entries, rng(0), { minSeconds: 5, minRuns: 100 })
    return timed[1].ratio
  }
}

/** The same in processor time: the median of 30 pairs, which other programs disturb less. */
export async function workOf(test, sessions) {
  for await (const { inputs } of test.batches({ batch: 1 })) {
    const spent = async (session) => {
      const from = process.cpuUsage()
      for (let i = 0; i < 10; i++) await session.run(inputs)
      const { user, system } = process.cpuUsage(from)
      return user + system
    }
    const ratios = []
    for (let i = 0; i < 30; i++) {
      const before = await spent(sessions[0])
      ratios.push((await spent(sessions[1])) / before)
    }
    return ratios.sort((a, b) => a - b)[15]
  }
}

const meanSquare = (errors) => errors.reduce((n, e) => n + e * e, 0) / errors.length
const percent = (x) => (100 * x).toFixed(2)
const points = ({ value, low, high }) => `${percent(value)} [${percent(low)}, ${percent(high)}]`
const ratio = ({ median, low, high }) => `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`

/** Measures every job that the log does not hold, appends each row at once, and prints all. `only`: names, separated by semicolons. */
export async function inLog(log, jobs, measured, only) {
  const done = existsSync(log)
    ? readFileSync(log, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : []
  for (const name of only?.split(';') ?? Object.keys(jobs)) {
    if (done.some((row) => row.model === name)) continue
    const row = await measured(name, jobs[name])
    done.push(row)
    appendFileSync(log, `${JSON.stringify(row)}\n`)
  }
  console.table(Object.fromEntries(done.map(({ model, ...row }) => [model, row])))
}
