import { common, dataOf, readable, reportOf } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import { type Fields, recipeFlags, recipeFrom } from './federate-recipe.ts'
import type { Flag, Parsed } from './flags.ts'
import { outputOf, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import {
  dataFlag,
  evalDataFlag,
  maxDropFlag,
  outputFlags,
  placeFlags,
  publicDataFlag,
  readingFlags,
  reportFlags,
  resumeFlag
} from './shared-flags.ts'

const flag = (name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group: 'rounds' },
  ...more
})

const ownFlags: readonly Flag[] = [
  flag('clients', 'whole', 'virtual clients', { default: 100, range: { least: 1, most: 100_000 } }),
  flag('alpha', 'number', 'of the Dirichlet distribution that classes are spread by; small: clients differ much', {
    ...{ default: 0.5, range: { above: 0, most: 1e6 } }
  }),
  ...recipeFlags,
  flag('hostile', 'share', 'share of the clients that send −10 times their update, to try rules of --aggregate', {
    range: { least: 0, most: 1 }
  }),
  {
    ...maxDropFlag,
    about:
      'then compress the model as pare compress does, with this loss allowed; the model of the rounds stays beside it'
  },
  flag('student', 'text', 'network that learns from clients’ scores of --public-data; default: that of the rounds', {
    hint: 'FILE'
  }),
  flag('workers', 'whole', 'threads that train; their number changes no byte', {
    ...{ default: 'one for each core', range: { least: 1, most: 1024 } }
  })
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
    publicDataFlag,
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
    const student = text(given, 'student')
    const job = {
      command: 'simulate' as const,
      ...common(given, command, at),
      ...{ model, out, data: dataOf(given) },
      ...(isOn(given, 'resume') ? { resume: true } : {}),
      federation: {
        recipe: simulatedFrom(given),
        ...(clients === undefined ? {} : { clients }),
        ...(alpha === undefined ? {} : { alpha }),
        ...(hostile === undefined ? {} : { hostile: { share: hostile, factor: -10 } }),
        ...(student === undefined ? {} : { student: readable(student) }),
        ...(workers === undefined ? {} : { workers })
      }
    }
    const report = reportOf(given)
    return runInWorker(job, given, at, { report, wrote: true, next: () => verifyLine(given, model, out, at) })
  }
}

/** The recipe of flags and file, with what only simulations do. */
function simulatedFrom(given: Parsed): Fields {
  const recipe = recipeFrom(given)
  const maxDrop = number(given, 'max-drop')
  if (maxDrop !== undefined) recipe['compress'] = { ...(recipe['compress'] as Fields | undefined), maxDrop }
  if (given.values.has('public-data')) recipe['distil'] ??= {}
  const rule = text(given, 'aggregate')
  if (rule !== undefined) recipe['aggregate'] = { ...(recipe['aggregate'] as Fields | undefined), rule }
  return recipe
}
