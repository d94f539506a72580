import { readFileSync } from 'node:fs'
import { PareError } from '../base/errors.ts'
import { common, dataOf, readable, reportOf } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import type { Flag, Parsed } from './flags.ts'
import { outputOf, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import {
  dataFlag,
  evalDataFlag,
  maxDropFlag,
  outputFlags,
  placeFlags,
  readingFlags,
  reportFlags,
  resumeFlag
} from './shared-flags.ts'

const flag = (name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group: 'rounds' },
  ...more
})

/** Codecs by the names that flags know them by. */
const codings = ['float', '8bit', '4bit', 'top-k', 'stc'] as const

/** What of a recipe is a flag, with its place in it. */
const recipeFlags: readonly (Flag & { readonly at: readonly string[] })[] = [
  { ...flag('rounds', 'whole', 'how often the model goes down and updates come up', { default: 100 }), at: ['rounds'] },
  {
    ...flag('clients-per-round', 'whole', 'clients that take part in a round', { default: 10 }),
    at: ['clientsPerRound']
  },
  {
    ...flag('epochs', 'whole', 'times that a client sees its samples in a round', { default: 5 }),
    at: ['local', 'epochs']
  },
  { ...flag('batch', 'whole', 'samples in a step', { default: 50 }), at: ['local', 'batch'] },
  { ...flag('local-rate', 'number', 'learning rate of the clients', { default: 0.05 }), at: ['local', 'rate'] },
  {
    ...flag('proximal', 'number', 'FedProx: pull towards the model that came down', { default: 0 }),
    at: ['local', 'proximal']
  },
  { ...flag('clip', 'number', 'longest gradient (default: not clipped)'), at: ['local', 'clip'] },
  { ...flag('mask', 'share', 'share of the weights that updates hold, the same for all clients'), at: ['mask'] }
]

const ownFlags: readonly Flag[] = [
  flag('clients', 'whole', 'virtual clients', { default: 100 }),
  flag('alpha', 'number', 'of the Dirichlet distribution that classes are spread by; small: clients differ much', {
    default: 0.5
  }),
  ...recipeFlags,
  flag('server', 'choice', 'what the mean of the updates does to the model', {
    choices: ['fedavg', 'fedavgm', 'fedadam', 'fedyogi'],
    default: 'fedavg'
  }),
  flag('aggregate', 'choice', 'what the updates of a round come to', {
    choices: ['mean', 'trimmed-mean', 'median', 'krum', 'centred-clipping'],
    default: 'mean'
  }),
  flag('hostile', 'share', 'share of the clients that send −10 times their update, to try rules of --aggregate'),
  flag('up', 'choice', 'how updates are coded', { choices: codings, default: '8bit' }),
  flag('up-share', 'share', 'share of the numbers that top-k and stc send', { default: 0.05 }),
  flag('down', 'choice', 'how the model is coded', { choices: ['float', '8bit', '4bit'], default: '8bit' }),
  {
    ...maxDropFlag,
    about:
      'then compress the model as pare compress does, with this loss allowed; the model of the rounds stays beside it'
  },
  flag('recipe', 'text', 'all of it as a file, or that of a report; flags go before it', { hint: 'FILE.json' }),
  flag('workers', 'whole', 'threads that train; their number changes no byte', { default: 'one for each core' })
]

/** `pare federate simulate` */
export const command: Command = {
  name: 'federate simulate',
  summary: 'train a model with virtual clients that each have a part of your data, and count what is sent',
  opens: true,
  writes: true,
  positionals: [{ name: 'model.onnx' }],
  flags: [
    ...ownFlags,
    dataFlag,
    evalDataFlag,
    ...readingFlags,
    ...placeFlags,
    ...outputFlags.filter((f) => f.name !== 'check'),
    { ...resumeFlag, about: 'go on where the same command was stopped, at most ten rounds back' },
    ...reportFlags
  ],
  examples: [
    'pare federate simulate model.onnx --data train.npz --eval-data test.npz',
    'pare federate simulate model.onnx --data train.npz --up stc --up-share 5% --alpha 0.1'
  ],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const out = await outputOf(given, model, at)
    const [clients, alpha, workers, hostile] = ['clients', 'alpha', 'workers', 'hostile'].map((f) => number(given, f))
    const job = {
      command: 'simulate' as const,
      ...common(given, command, at),
      ...{ model, out, data: dataOf(given) },
      ...(isOn(given, 'resume') ? { resume: true } : {}),
      federation: {
        recipe: recipeFrom(given),
        ...(clients === undefined ? {} : { clients }),
        ...(alpha === undefined ? {} : { alpha }),
        ...(hostile === undefined ? {} : { hostile: { share: hostile, factor: -10 } }),
        ...(workers === undefined ? {} : { workers })
      }
    }
    const report = reportOf(given)
    return runInWorker(job, given, at, { report, wrote: true, next: () => verifyLine(given, model, out, at) })
  }
}

type Fields = Record<string, unknown>

/** The recipe of the file, if one is named, with what flags say in place of what it says. Throws `E_FILE`, `E_USAGE`. */
function recipeFrom(given: Parsed): Fields {
  const recipe = fileRecipe(given)
  for (const { name, at } of recipeFlags) {
    const value = given.values.get(name)
    if (value === undefined) continue
    const [first = '', second] = at
    recipe[first] = second === undefined ? value : { ...(recipe[first] as Fields | undefined), [second]: value }
  }
  const server = text(given, 'server')
  if (server !== undefined) recipe['server'] = { rule: server }
  const maxDrop = number(given, 'max-drop')
  if (maxDrop !== undefined) recipe['compress'] = { ...(recipe['compress'] as Fields | undefined), maxDrop }
  const rule = text(given, 'aggregate')
  if (rule !== undefined) recipe['aggregate'] = { ...(recipe['aggregate'] as Fields | undefined), rule }
  for (const way of ['up', 'down']) {
    const coding = text(given, way)
    if (coding !== undefined) recipe[way] = codecOf(coding, number(given, `${way}-share`))
  }
  if (given.values.has('up-share') && !['top-k', 'stc'].includes(text(given, 'up') ?? ''))
    throw new PareError('E_USAGE', '--up-share is for --up top-k and --up stc')
  return recipe
}

function codecOf(coding: string, share: number | undefined): Fields {
  if (coding === 'float') return { codec: 'float' }
  const bits = /^(\d)bit$/.exec(coding)?.[1]
  if (bits !== undefined) return { codec: 'quantize', bits: Number(bits) }
  return { codec: coding, ...(share === undefined ? {} : { share }) }
}

function fileRecipe(given: Parsed): Fields {
  const path = text(given, 'recipe')
  if (path === undefined) return {}
  let content: unknown
  try {
    content = JSON.parse(readFileSync(readable(path), 'utf8'))
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    throw new PareError('E_USAGE', 'the recipe is not JSON', { facts: { file: path, why: String(cause) }, cause })
  }
  const { federation } = Object(content) as { federation?: { recipe?: unknown } }
  const found = federation?.recipe ?? content
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    throw new PareError('E_USAGE', 'this is no recipe of a federation', {
      facts: { file: path },
      hint: '{ "rounds": 100, "clientsPerRound": 10, "up": { "codec": "stc", "share": 0.05 } }'
    })
  return { ...found }
}
