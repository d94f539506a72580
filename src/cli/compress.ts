import type { Recipe } from '../passes/types.ts'
import { type Objective, objectives } from '../search/choose.ts'
import { common, dataOf, judgedOf, maxTimeOf, readable, recipeOf, reportOf } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import { strategyList } from './lists.ts'
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
  recipeFlag,
  reportFlags,
  resumeFlag,
  trainDataFlag
} from './shared-flags.ts'

/** `pare compress` */
export const command: Command = {
  name: 'compress',
  summary: 'make a model smaller and faster, and prove what that cost',
  opens: true,
  positionals: [{ name: 'model.onnx' }],
  writes: true,
  flags: [
    dataFlag,
    evalDataFlag,
    calibrationDataFlag,
    {
      ...trainDataFlag,
      about:
        'samples to train on: candidates are fine-tuned too, and pruned and taught again; with --recipe, for its passes that train'
    },
    ...readingFlags,
    ...metricFlags,
    {
      name: 'objective',
      kind: 'choice',
      choices: objectives,
      group: 'search',
      default: 'balanced',
      about: 'what decides among candidates that keep the promise; balanced: least bytes × time among those no slower'
    },
    {
      name: 'adaptive',
      kind: 'boolean',
      group: 'search',
      about:
        'also try cascades: the fastest candidate answers what it is sure of, the original or the best form the rest'
    },
    {
      name: 'strategy',
      kind: 'choice',
      choices: strategyList.map((s) => s.name),
      group: 'search',
      default: strategyList[0].name,
      about: `how candidates are searched for; ${strategyList.map((s) => `${s.name}: ${s.summary}`).join('; ')}`
    },
    recipeFlag,
    {
      ...maxTimeFlag,
      group: 'search',
      about:
        'how long the whole may take (90s, 30min, 2h): samples and repeats adapt, no candidate begins that would not end in time, one that takes longer is stopped'
    },
    ...placeFlags,
    costModelFlag,
    ...outputFlags,
    { ...resumeFlag, about: 'go on after the last candidate that the same command measured, where it was stopped' },
    ...reportFlags
  ],
  examples: [
    'pare compress model.onnx --data photos/ --preprocess imagenet --max-drop 1%',
    'pare compress model.onnx --data test.npz --max-drop 0.5% --objective size --report report.html'
  ],
  more: 'Status 3: no candidate stays within --max-drop, or none is faster or smaller; nothing is written, and the report says which and what came nearest.',
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const out = await outputOf(given, model, at)
    const report = reportOf(given)
    const [data, metric, maxDrop, recipe] = [
      dataOf(given),
      text(given, 'metric'),
      number(given, 'max-drop'),
      recipeOf(given)
    ]
    if (recipe) await checkRecipe(recipe)
    const job = {
      command: 'compress' as const,
      ...common(given, command, at),
      ...{ model, out, data },
      objective: (text(given, 'objective') ?? 'balanced') as Objective,
      ...(metric === undefined ? {} : { metric }),
      ...judgedOf(given),
      ...(maxDrop === undefined ? {} : { maxDrop }),
      ...(recipe === undefined ? { strategy: text(given, 'strategy') ?? strategyList[0].name } : { recipe }),
      ...(isOn(given, 'adaptive') ? { adaptive: true } : {}),
      ...maxTimeOf(given),
      ...(isOn(given, 'resume') ? { resume: true } : {})
    }
    return runInWorker(job, given, at, {
      report,
      wrote: true,
      replay: report === undefined ? undefined : replayLine(given, model, out, report, at),
      next: () => verifyLine(given, model, out, at)
    })
  }
}

/** Throws `E_USAGE` for a pass that does not exist, `E_OPTION` for options that it does not have. */
async function checkRecipe(recipe: Recipe): Promise<void> {
  const [{ passFor }, { parseOptions }] = await Promise.all([import('../passes/index.ts'), import('../passes/pass.ts')])
  for (const [name, options] of recipe) parseOptions(passFor(name), options)
}
