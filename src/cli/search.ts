import { PareError } from '../base/errors.ts'
import type { SearchJob } from '../node/job.ts'
import type { CostName } from '../report/types.ts'
import { costNames } from '../search/space/space.ts'
import { common, dataOf, judgedOf, maxTimeOf, readable, reportOf } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import type { Flag, Parsed } from './flags.ts'
import { explorerList } from './lists.ts'
import { outputOf, replayLine, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import {
  calibrationDataFlag,
  costModelFlag,
  dataFlag,
  evalDataFlag,
  maxTimeFlag,
  metricFlags,
  outputFlags,
  placeFlags,
  readingFlags,
  reportFlags,
  resumeFlag,
  trainDataFlag
} from './shared-flags.ts'

const flag = (name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group: 'search' },
  ...more
})

const names = explorerList.map((e) => e.name)

const searchFlags: readonly Flag[] = [
  flag('budget.bytes', 'share', 'bytes of the file that may be left, after / before', { hint: '0.1' }),
  flag('budget.macs', 'share', 'multiply-adds that may be left, after / before', { hint: '0.5' }),
  flag('budget.latency', 'share', 'time of a sample that may be left, after / before, by the times of single layers', {
    hint: '0.4'
  }),
  flag('least', 'choice', 'without a budget: what is to be least within --max-drop', {
    choices: costNames,
    default: 'bytes'
  }),
  flag(
    'strategy',
    'list',
    `how points are searched for, several to compare them; ${explorerList.map((e) => `${e.name}: ${e.summary}`).join('; ')}`,
    { hint: 'NAME,…', default: names[0] }
  ),
  flag('trials', 'whole', 'trials of every strategy under every seed', { hint: 'N', default: 200 }),
  flag('seeds', 'whole', 'how many seeds every strategy is run under, from --seed on: more tell how much is luck', {
    hint: 'N',
    default: 1
  }),
  flag('beside', 'boolean', 'random is run beside, with as many trials', { default: true }),
  flag('types', 'list', 'types of weights to choose from beside float; none: channels alone', {
    hint: 'NAME,…',
    default: 'int8, int6, int5, int4, palette3'
  }),
  flag('sparsity', 'list', 'shares of a weight’s elements that may be zero; none by default', { hint: '0.5,0.8,…' }),
  flag('ranks', 'list', 'shares of its parameters that a layer may be left with as two of low rank; none by default', {
    hint: '0.25,0.5,…'
  }),
  flag('channels', 'boolean', 'channels have a choice', { default: true }),
  flag('least-kept', 'number', 'share of its channels that every group keeps at least', { hint: 'X', default: 0.2 }),
  flag('exclude', 'list', 'nodes whose weights stay float, and groups that stay whole, by name', { hint: 'NAME,…' }),
  flag(
    'workers',
    'text',
    'threads that measure trials, or the Redis that workers take them from; the result is the same',
    {
      hint: 'N|redis://…',
      default: 1
    }
  ),
  flag('ahead', 'whole', 'trials that a proposal does not wait for: more workers are of no use', {
    hint: 'N',
    default: 4
  }),
  flag('write', 'boolean', 'make and write the best; without, the report alone', { default: true })
]

/** `pare search` */
export const command: Command = {
  name: 'search',
  summary:
    'search channels, types, zeros and ranks of weights, within budgets or a drop, by solving, evolution or learning',
  opens: true,
  positionals: [{ name: 'model.onnx' }],
  writes: true,
  flags: [
    dataFlag,
    evalDataFlag,
    calibrationDataFlag,
    { ...trainDataFlag, about: 'samples to train on: the best is fine-tuned between pruning and storing' },
    ...readingFlags,
    ...metricFlags,
    ...searchFlags,
    { ...maxTimeFlag, group: 'search', about: 'how long the trials may take (90s, 30min, 2h): none begins after that' },
    ...placeFlags,
    costModelFlag,
    ...outputFlags,
    { ...resumeFlag, about: 'go on with the journal OUT.search of the same search, where it was stopped' },
    ...reportFlags
  ],
  examples: [
    'pare search model.onnx --data test.npz --max-drop 1%',
    'pare search model.onnx --data test.npz --budget.bytes 0.1 --budget.macs 0.7',
    'pare search model.onnx --data test.npz --budget.macs 0.5 --types none --strategy local,ddpg --seeds 3',
    'pare search model.onnx --data test.npz --budget.bytes 0.1 --sparsity 0.5,0.7,0.9 --ranks 0.25,0.5'
  ],
  more: 'Every trial is a line of OUT.search, and --resume goes on after the last one. Status 3: the best loses more than --max-drop; nothing is written.',
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const out = await outputOf(given, model, at)
    const report = reportOf(given)
    const [data, metric, maxDrop] = [dataOf(given), text(given, 'metric'), number(given, 'max-drop')]
    const job = {
      command: 'search' as const,
      ...common(given, command, at),
      ...{ model, out, data },
      ...(metric === undefined ? {} : { metric }),
      ...judgedOf(given),
      ...(maxDrop === undefined ? {} : { maxDrop }),
      search: searchOf(given),
      ...maxTimeOf(given),
      ...(isOn(given, 'resume') ? { resume: true } : {})
    }
    return runInWorker(job, given, at, {
      report,
      wrote: given.values.get('write') !== false,
      replay: report === undefined ? undefined : replayLine(given, model, out, report, at),
      next: async () => (given.values.get('write') === false ? undefined : verifyLine(given, model, out, at))
    })
  }
}

const list = (given: Parsed, name: string): readonly string[] | undefined =>
  given.values.get(name) as readonly string[] | undefined

/** Shares between 0 and 1. Throws `E_USAGE`. */
function sharesOf(given: Parsed, name: string): readonly number[] | undefined {
  return list(given, name)?.map((text) => {
    const share = Number(text)
    if (share > 0 && share < 1) return share
    throw new PareError('E_USAGE', `--${name} takes shares between 0 and 1, not ${text}`, { hint: `--${name} 0.5` })
  })
}

/** A number of threads, or an address. Throws `E_USAGE`. */
function workersOf(given: Parsed): number | string | undefined {
  const asked = text(given, 'workers')
  if (asked === undefined || /^(redis|valkey)s?:\/\//.test(asked)) return asked
  const count = Number(asked)
  if (Number.isInteger(count) && count >= 1 && count <= 256) return count
  throw new PareError(
    'E_USAGE',
    `--workers takes a number of threads or an address like redis://HOST:6379, not ${asked}`,
    {
      hint: '--workers 2'
    }
  )
}

function searchOf(given: Parsed): SearchJob {
  const asked = list(given, 'strategy') ?? [names[0] as string]
  const beside = given.values.get('beside') !== false && !asked.includes('random') ? ['random'] : []
  const types = list(given, 'types')
  const [workers, leastKept, exclude] = [workersOf(given), number(given, 'least-kept'), list(given, 'exclude')]
  const [sparsity, ranks] = [sharesOf(given, 'sparsity'), sharesOf(given, 'ranks')]
  const budget = Object.fromEntries(
    costNames.flatMap((n) => {
      const share = number(given, `budget.${n}`)
      return share === undefined ? [] : [[n, share]]
    })
  )
  if (Object.keys(budget).length > 0 && given.values.has('least'))
    throw new PareError('E_USAGE', '--least chooses without a budget; it means nothing beside --budget.*', {
      hint: 'leave out one of the two'
    })
  return {
    strategies: [...new Set([...asked, ...beside])],
    trials: number(given, 'trials') ?? 200,
    seeds: number(given, 'seeds') ?? 1,
    ahead: number(given, 'ahead') ?? 4,
    budget,
    ...(Object.keys(budget).length > 0 ? {} : { least: (text(given, 'least') ?? 'bytes') as CostName }),
    ...(workers === undefined ? {} : { workers }),
    ...(types === undefined ? {} : { types: types.filter((t) => t !== 'none') }),
    ...(sparsity === undefined ? {} : { sparsity }),
    ...(ranks === undefined ? {} : { ranks }),
    ...(given.values.get('channels') === false ? { channels: false } : {}),
    ...(leastKept === undefined ? {} : { leastKept }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(given.values.get('write') === false ? { only: true } : {})
  }
}
