/**
 * Strategies of `pare search` beside each other at equal trials.
 *
 *   node bench/search.mjs DATA [--only table,amc,additive] [--folder FOLDER] [--trials N] [--seeds N] [--workers N]
 *
 * table: ResNet-56, bytes ≤ 0.10 and multiply-adds ≤ 0.7, channels and types of weights, no training: solve, local, evolution,
 * tpe, ddpg and random, 200 trials each, 3 seeds. amc: the setting of AMC, channels alone at half of the multiply-adds, before
 * any fine-tuning: ddpg, solve and random at 400 trials. additive: a problem of 30 units whose harms add up, so that the
 * optimum is known: regret of ddpg and random after 400 trials, on five problems.
 *
 * DATA: the folder that docs/benchmarks.md describes. Every trial is a line of a journal in FOLDER (search-bench by default):
 * the script may be stopped at any time, and goes on when started anew. Harms are e² of the outputs on samples that no trial
 * saw. Build first.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { explorers, projection, rng } from '../dist/index.js'
import { nodeRunner } from '../dist/node/index.js'
import { models } from './peers/models.mjs'
import { pare } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: 'table,amc,additive' },
    folder: { type: 'string', default: 'search-bench' },
    trials: { type: 'string' },
    seeds: { type: 'string', default: '3' },
    workers: { type: 'string', default: '2' }
  }
})
const [root] = positionals
const wanted = given.only.split(',')
if (!root || (wanted.join() !== 'additive' && !existsSync(root))) {
  console.error('usage: node bench/search.mjs DATA [--only table,amc,additive] [--folder FOLDER]')
  process.exit(2)
}
mkdirSync(given.folder, { recursive: true })
if (wanted.includes('table'))
  show(
    'table',
    searched('table', ['--budget.bytes', '0.1', '--budget.macs', '0.7'], {
      strategies: 'solve,local,evolution,tpe,ddpg,random',
      trials: given.trials ?? '200'
    })
  )
if (wanted.includes('amc'))
  show(
    'amc',
    searched('amc', ['--budget.macs', '0.5', '--types', 'none'], {
      strategies: 'ddpg,solve,random',
      trials: given.trials ?? '400'
    })
  )
if (wanted.includes('additive')) await additive()

/** Runs the search, or goes on with it; gives the part of its report. */
function searched(name, budget, { strategies, trials }) {
  const { preprocess } = models.find((m) => m.name === 'resnet56')
  const [out, report, reading] = ['onnx', 'json', 'preprocess.json'].map((end) => join(given.folder, `${name}.${end}`))
  writeFileSync(reading, JSON.stringify(preprocess))
  const data = join(root, 'cifar10-jpeg')
  const args = [
    ...[pare, 'search', join(data, 'resnet56.onnx'), '--data', join(data, 'test_dev.npz'), '--preprocess', reading],
    ...[...budget, '--strategy', strategies, '--trials', trials, '--seeds', given.seeds, '--workers', given.workers],
    ...['--no-write', '--out', out, '--report', report, '--force'],
    ...(existsSync(`${out}.search`) ? ['--resume'] : [])
  ]
  const began = performance.now()
  const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) process.exit(status ?? 1)
  console.log(`${name}: ${((performance.now() - began) / 60000).toFixed(1)} min this time`)
  return JSON.parse(readFileSync(report, 'utf8')).search
}

function show(name, search) {
  console.log(`\n${name}: harm (e²) and drop of each run's best on ${search.freshN} samples that no trial saw`)
  const names = [...new Set(search.runs.map((r) => r.strategy))]
  const rows = names.map((strategy) => {
    const own = search.runs.filter((r) => r.strategy === strategy)
    const against = search.comparisons.find((c) => c.strategy === strategy)
    const [harms, drops] = [
      own.map((r) => r.fresh?.harm ?? Number.NaN),
      own.map((r) => 100 * (r.fresh?.drop ?? Number.NaN))
    ]
    return {
      strategy,
      'median harm': median(harms).toPrecision(3),
      'deviation ': deviation(harms).toPrecision(2),
      'drop, points': `${mean(drops).toFixed(1)} ± ${deviation(drops).toFixed(1)}`,
      'harm over random’s': against?.ratio === undefined ? '' : interval(against),
      verdict: against?.verdict ?? '',
      'trials ': own.map((r) => r.trials).join(' '),
      'on all samples': own.map((r) => r.whole).join(' '),
      'known before': own.map((r) => r.known).join(' '),
      guessed: own.map((r) => r.guessed).join(' '),
      's a trial': (mean(own.map((r) => r.msPerTrial)) / 1000).toFixed(2)
    }
  })
  console.table(rows)
  const [first] = search.runs
  if (first)
    console.log(
      `uniform ratio ${first.starts[0]?.toPrecision(3)}, solution of the additive guess ${first.starts[1]?.toPrecision(3)} on the samples of trials`
    )
  console.log(`once, before the trials: ${(search.prepareMs / 1000).toFixed(0)} s`)
}

const interval = ({ ratio, low, high, wins, seeds }) =>
  `${ratio.toPrecision(3)}${low === undefined ? '' : ` [${low.toPrecision(3)}, ${high.toPrecision(3)}]`}, better ${wins} of ${seeds}`

// ---------------------------------------------------------------- a problem whose optimum is known

/** Units of different size and sensitivity with eight choices each; every cost and every harm is of one unit alone. */
function problem(seed) {
  const random = rng(`additive ${seed}`)
  const choices = 8
  const sizes = Array.from({ length: 30 }, () => Math.exp(1.2 * random.normal()))
  return {
    units: sizes.map((size, i) => {
      const sensitivity = size * Math.exp(1.5 * random.normal())
      const harm = Array.from({ length: choices }, (_, c) => sensitivity * (4 ** ((-8 * c) / (choices - 1)) - 4 ** -8))
      return { id: `unit ${i}`, kind: i % 2 ? 'type' : 'keep', choices: harm.map((_, c) => String(c)), harm }
    }),
    loads: sizes.map((size, unit) => ({
      cost: 'bytes',
      size,
      factors: [
        { base: 0.1, terms: [{ unit, table: Array.from({ length: choices }, (_, c) => (0.9 * c) / (choices - 1)) }] }
      ]
    })),
    fixed: { bytes: 0, macs: 0, latency: 0 },
    original: { bytes: mean(sizes) * sizes.length }
  }
}

/** Least sum of harms within the budget: a knapsack over costs in 20,000 steps, rounded up, so that it is no less than the true one by a step of each unit. */
function optimum({ units, loads, original }, budget) {
  const steps = 20000
  const unit = (budget * original.bytes) / steps
  let best = new Float64Array(steps + 1)
  for (const [i, u] of units.entries()) {
    const next = new Float64Array(steps + 1).fill(Number.POSITIVE_INFINITY)
    for (const [c, harm] of u.harm.entries()) {
      const cost = Math.ceil((loads[i].size * (0.1 + loads[i].factors[0].terms[0].table[c])) / unit)
      for (let b = cost; b <= steps; b++) next[b] = Math.min(next[b], best[b - cost] + harm)
    }
    best = next
  }
  return best[steps]
}

async function additive() {
  const [trials, budget] = [Number(given.trials ?? 400), 0.4]
  const regrets = { ddpg: [], random: [] }
  for (let p = 0; p < 5; p++) {
    const space = problem(p)
    const least = optimum(space, budget)
    const project = projection(space, { bytes: budget })
    for (const name of Object.keys(regrets))
      for (let seed = 0; seed < Number(given.seeds); seed++) {
        const best = await explored(name, { space, project, trials, seed })
        regrets[name].push(best / least - 1)
        console.log(`problem ${p}, seed ${seed}: ${name} ${(best / least - 1).toFixed(3)} above the optimum`)
      }
  }
  const [ddpg, random] = [median(regrets.ddpg), median(regrets.random)]
  console.log(
    `median regret: ddpg ${ddpg.toFixed(3)}, random ${random.toFixed(3)}, ratio ${(ddpg / random).toFixed(3)}`
  )
}

/** Least harm after all trials; without the uniform and the solved point, which would end it at once. */
async function explored(name, { space, project, trials, seed }) {
  const record = explorers.find((e) => e.name === name)
  const explorer = record.make({
    space,
    project,
    starts: [],
    trials,
    objectives: 1,
    solved: () => [],
    engine: nodeRunner()
  })
  const history = []
  for (let k = 0; k < trials; k++) {
    const raw = await explorer.next(history, [], rng(`${seed}/${k}`))
    const point = project(raw)
    const score = point.reduce((sum, c, i) => sum + space.units[i].harm[c], 0)
    history.push({ k, raw, point, score, values: [score], isWhole: true })
  }
  await explorer.close?.()
  return Math.min(...history.map((s) => s.score))
}

function mean(all) {
  return all.reduce((a, b) => a + b, 0) / all.length
}

function deviation(all) {
  const m = mean(all)
  return Math.sqrt(mean(all.map((x) => (x - m) ** 2)) * (all.length / Math.max(1, all.length - 1)))
}

function median(all) {
  const sorted = all.toSorted((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2
}
