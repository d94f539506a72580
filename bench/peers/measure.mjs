/** Quantized models side by side: accuracy, bytes, kernels, latency. */
import { statSync } from 'node:fs'
import { evaluate, interleave, metricDrops, metricFor, metricIntervals, rng } from '../../dist/index.js'
import { load, nodeRunner } from '../../dist/node/index.js'
import { datasetOf, sampleOf } from './models.mjs'

/**
 * Rows of the table: accuracy over all folds; bytes, kernels and latency of the first; time and memory of the last run.
 * `behind the first`: how many points fewer than the first row's model, paired by sample.
 */
export async function measure(file, folds, made) {
  const metrics = [metricFor('top1'), metricFor('relativeError')]
  const scores = made.map(() => [])
  const before = []
  for (const [k, fold] of folds.entries()) {
    const sessions = await openAll([file, ...made.map((x) => x.runs[k].result)])
    const [reference, ...others] = await evaluate(sessions, { dataset: datasetOf(fold.name, fold.test), metrics })
    before.push(reference)
    for (const [i, s] of others.entries()) scores[i].push(s)
    for (const s of sessions) await s.close()
  }
  const float = joined(before)
  const top1 = metricIntervals(float, metrics).top1
  const timed = await latencies([file, ...made.map((x) => x.runs[0].result)], folds[0])
  const rows = []
  for (const [i, x] of made.entries()) {
    const after = joined(scores[i])
    const drop = metricDrops(float, after, metrics).top1
    const behind = metricDrops(joined(scores[0]), after, metrics).top1
    const first = x.runs[0]
    const cost = x.runs.at(-1)
    rows.push({
      'drop (points)': interval(drop, 100, 2),
      'behind the first (points)': i === 0 ? '' : interval(behind, 100, 2),
      'relative error': metricIntervals(after, metrics).relativeError.value.toFixed(4),
      of: `${(100 * top1.value).toFixed(1)} % of ${top1.n}`,
      bytes: ((await bytesOf(first.result)) / (await bytesOf(file))).toFixed(3),
      integer: await kernels(first.result, file),
      s: cost.seconds.toFixed(1),
      'cpu s': cost.cpuSeconds?.toFixed(1) ?? '?',
      'peak MB': megabytes(cost.peakBytes),
      latency: interval({ value: timed[i].median, ...timed[i] }, 1, 2)
    })
  }
  return rows
}

/** Of a model and of the files that hold its weights. */
async function bytesOf(path) {
  let bytes = statSync(path).size
  await load(path, (file) => {
    bytes += file.length
  })
  return bytes
}

const openAll = (files, o) => Promise.all(files.map((path) => nodeRunner().open({ path }, o)))
export const megabytes = (bytes) => (bytes === undefined ? '?' : (bytes / 1e6).toFixed(0))

function interval({ value, low, high }, scale, digits) {
  const [a, b, c] = [value, low, high].map((x) => (scale * x).toFixed(digits))
  return `${a} [${b}, ${c}]`
}

/** Scores of folds one after the other. */
const joined = (all) =>
  Object.fromEntries(Object.keys(all[0]).map((name) => [name, Float64Array.from(all.flatMap((s) => [...s[name]]))]))

/** Ratios to the float original, one sample a run, one thread, interleaved in this process. */
async function latencies(files, fold) {
  const sessions = await openAll(files)
  const feeds = { [fold.name]: sampleOf(fold.test) }
  const timed = await interleave(
    sessions.map((s, i) => ({ name: String(i), run: () => s.run(feeds) })),
    rng(0),
    { minSeconds: 8, minRuns: 60 }
  )
  for (const s of sessions) await s.close()
  return timed.slice(1).map((t) => t.ratio)
}

const heavy = new Set(['Conv', 'Gemm', 'MatMul', 'FusedConv', 'FusedMatMul', 'FusedGemm'])

/** `20 / 20`: integer convolutions and products of the optimised graph, of those of the model. */
async function kernels(result, original) {
  const count = async (path, isCounted) => {
    const session = await nodeRunner().open({ path }, { optimization: 'extended', keepOptimized: true })
    const { graph } = await session.optimized()
    await session.close()
    return graph.nodes.filter((n) => isCounted(n.op)).length
  }
  const isInteger = (op) => /^QLinear(Conv|MatMul)$|^QGemm$|Integer/.test(op)
  return `${await count(result, isInteger)} / ${await count(original, (op) => heavy.has(op))}`
}
