/**
 * A federation on Fashion-MNIST: LeNet-5, 100 virtual clients, 10 a round, 5 epochs, batches of 50; classes spread by
 * Dirichlet distributions. What codings cost in accuracy, beside floats with the same seeds, and what they save in bytes. The
 * pictures are those of Debian's package dataset-fashion-mnist.
 *
 *   node bench/federated.mjs [--keep FOLDER] [--only NAME]… [--alpha 0.5,0.1] [--seeds 3] [--minutes 8] [--table]
 *   node bench/federated.mjs --hostile …       20 % of the clients send −10 times their update, by rules
 *
 * A run that is done is a line in FOLDER/runs.jsonl and is not done again; one that was stopped (by Ctrl-C, a kill, or --minutes)
 * goes on at most ten rounds back. Without --minutes all runs are done. At the end, and with --table alone, the table is printed.
 * Build first.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runJob } from '../dist/node/index.js'

const { values } = parseArgs({
  options: {
    keep: { type: 'string', default: 'bench/out/federated' },
    data: { type: 'string', default: '/usr/share/datasets/fashion-mnist' },
    only: { type: 'string', multiple: true },
    alpha: { type: 'string', default: '0.5,0.1' },
    seeds: { type: 'string', default: '3' },
    workers: { type: 'string' },
    minutes: { type: 'string' },
    hostile: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false }
  }
})
const model = fileURLToPath(new URL('lenet.txt', import.meta.url))
const log = join(values.keep, 'runs.jsonl')
mkdirSync(values.keep, { recursive: true })

const float = { codec: 'float' }
const bits = (n) => ({ codec: 'quantize', bits: n })
const stc = { codec: 'stc', share: 0.05 }

/** Codings up and down. */
const codings = {
  float: { up: float, down: float },
  '8 bits both ways': { up: bits(8), down: bits(8) },
  'STC 1/20, 8 bits down': { up: stc, down: bits(8) },
  'STC 1/20, 4 bits down': { up: stc, down: bits(4) },
  '4 bits both ways': { up: bits(4), down: bits(4) },
  'STC 1/20 without feedback': { up: stc, down: bits(8), feedback: false },
  'public mask of 50 %, 4 bits': { up: bits(4), down: bits(8), mask: 0.5 }
}
/** Rules against hostile clients. */
const rules = {
  'mean, nobody hostile': { aggregate: { rule: 'mean' } },
  mean: { aggregate: { rule: 'mean' } },
  'mean with bound': { aggregate: { rule: 'mean', norm: 'median' } },
  'trimmed mean': { aggregate: { rule: 'trimmed-mean', share: 0.3 } },
  median: { aggregate: { rule: 'median' } },
  Krum: { aggregate: { rule: 'krum', share: 0.3 } }
}

/** What is run: the acceptance table first, what is beside it last. */
function planned() {
  const { only } = values
  const names = Object.keys(values.hostile ? rules : codings).filter((n) => !only || only.includes(n))
  const alphas = values.hostile ? [1000, 0.1] : values.alpha.split(',').map(Number)
  return alphas.flatMap((alpha) => {
    const seeds = alpha === 0.5 ? Number(values.seeds) : 1
    const rounds = values.hostile ? 40 : alpha === 0.5 ? 100 : 60
    const all = Array.from({ length: seeds }, (_, i) => i + 1)
    return names.flatMap((name) => all.map((seed) => ({ name, alpha, seed, rounds })))
  })
}

const runs = () =>
  existsSync(log)
    ? readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : []
const idOf = ({ name, alpha, seed, rounds }) => JSON.stringify([name, alpha, seed, rounds, values.hostile])

/** One federation from its first round, or from where it was stopped, to its last. */
async function federate(plan, signal) {
  const slug = idOf(plan).replace(/[^a-z0-9.]+/gi, '-')
  const isAttacked = values.hostile && plan.name !== 'mean, nobody hostile'
  const start = performance.now()
  const { report } = await runJob(
    {
      command: 'simulate',
      line: `bench/federated.mjs ${plan.name}`,
      model,
      out: join(values.keep, `${slug}.onnx`),
      force: true,
      resume: true,
      seed: plan.seed,
      data: {
        data: { path: join(values.data, 'train-images-idx3-ubyte.gz'), preprocess: 'unit' },
        evaluation: { path: join(values.data, 't10k-images-idx3-ubyte.gz'), preprocess: 'unit' }
      },
      federation: {
        recipe: {
          rounds: plan.rounds,
          local: { rate: 0.1 },
          ...(values.hostile ? { ...codings['8 bits both ways'], ...rules[plan.name] } : codings[plan.name])
        },
        alpha: plan.alpha,
        ...(isAttacked ? { hostile: { share: 0.2, factor: -10 } } : {}),
        ...(values.workers ? { workers: Number(values.workers) } : {})
      }
    },
    {
      signal,
      progress: (stage) => process.stderr.write(`\r${plan.name}, α ${plan.alpha}, seed ${plan.seed}: ${stage}   `)
    }
  )
  const { federation, curves } = report
  return {
    ...plan,
    hostile: values.hostile,
    top1: 100 * federation.lastRounds.top1,
    final: 100 * report.after.metrics.top1.value,
    bytes: federation.bytes,
    steps: federation.steps,
    refused: federation.refused,
    seconds: (performance.now() - start) / 1000,
    fileBytes: report.after.bytes,
    curve: curves['top1 by round']
  }
}

async function runAll() {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  if (values.minutes) setTimeout(() => stop.abort(), 60_000 * Number(values.minutes)).unref()
  const done = new Set(runs().map((r) => JSON.stringify([r.name, r.alpha, r.seed, r.rounds, r.hostile])))
  for (const plan of planned()) {
    if (done.has(idOf(plan))) continue
    try {
      appendFileSync(log, `${JSON.stringify(await federate(plan, stop.signal))}\n`)
    } catch (e) {
      if (!stop.signal.aborted) throw e
      process.stderr.write('\nstopped; the same command goes on\n')
      return
    }
  }
  process.stderr.write('\n')
}

// ---------------------------------------------------------------- the table

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length
const spread = (list) =>
  list.length < 2
    ? ''
    : ` ±${Math.sqrt(mean(list.map((x) => (x - mean(list)) ** 2)) * (list.length / (list.length - 1))).toFixed(2)}`
const total = (list, of) => list.reduce((n, r) => n + of(r), 0)
const times = (x) => `${x.toPrecision(3)} ×`

function table() {
  const all = runs().filter((r) => r.hostile === values.hostile)
  const base = values.hostile ? 'mean, nobody hostile' : 'float'
  for (const alpha of [...new Set(all.map((r) => r.alpha))]) {
    const of = (name) => all.filter((r) => r.alpha === alpha && r.name === name)
    const rows = [...new Set(all.filter((r) => r.alpha === alpha).map((r) => r.name))].map((name) => {
      const mine = of(name)
      const pairs = mine.flatMap((r) =>
        of(base)
          .filter((b) => b.seed === r.seed)
          .map((b) => r.top1 - b.top1)
      )
      const floats = total(mine, (r) => r.bytes.floats)
      const [up, payload, down] = ['up', 'upPayload', 'down'].map((k) => total(mine, (r) => r.bytes[k]))
      return [
        name,
        `${mean(mine.map((r) => r.top1)).toFixed(2)}${spread(mine.map((r) => r.top1))}`,
        name === base || pairs.length === 0 ? '' : mean(pairs).toFixed(2),
        String(mine.length),
        times(floats / payload),
        times(floats / up),
        times(floats / down),
        times((2 * floats) / (up + down)),
        (total(mine, (r) => r.seconds) / total(mine, (r) => r.rounds)).toFixed(1)
      ]
    })
    print(`α ${alpha}, ${all.find((r) => r.alpha === alpha).rounds} rounds`, [
      ['', 'top-1', `to ${base}`, 'seeds', 'payload up', 'up', 'down', 'together', 's/round'],
      ...rows
    ])
  }
}

function print(title, rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)))
  console.log(`\n${title}: top-1 in %, mean of the last 10 rounds; bytes against floats both ways`)
  for (const r of rows) console.log(r.map((c, i) => (i === 0 ? c.padEnd(widths[i]) : c.padStart(widths[i]))).join('  '))
}

if (!values.table) await runAll()
table()
