/** Every pass as a command: its flags come from its options. */
import { PareError } from '../base/errors.ts'
import type { PassCard } from './cards.ts'
import { common, dataOf, judgedOf, readable, reportOf } from './check.ts'
import { type Command, isOn, text } from './command.ts'
import { type Flag, kebab, optionsFrom } from './flags.ts'
import { passList } from './lists.ts'
import { outputOf, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import {
  calibrationDataFlag,
  dataFlag,
  evalDataFlag,
  judgedFlag,
  metricFlag,
  outputFlags,
  placeFlags,
  readingFlags,
  referenceFlag,
  reportFlags,
  resumeFlag,
  trainDataFlag
} from './shared-flags.ts'

/** The command of a pass; `undefined` where there is none of that name. */
export function passCommand(name: string): Command | undefined {
  const pass = passList.find((p) => p.name === name)
  return pass ? commandOf(pass) : undefined
}

const prepareFlag = (after: readonly string[]): Flag => ({
  name: 'prepare',
  kind: 'boolean',
  group: 'options',
  about: `apply ${after.join(' and ')} before, so that more can be done`,
  default: true
})

function commandOf(pass: PassCard): Command {
  const { beside } = pass
  const own = pass.flags.filter((f) => f.name !== beside?.option)
  const kinds = [...pass.needs, ...pass.uses]
  const command: Command = {
    name: pass.name,
    summary: pass.summary,
    positionals: (beside?.names ?? ['model.onnx']).map((name) => ({ name })),
    opens: true,
    writes: true,
    flags: [
      ...own,
      ...(pass.after.length > 0 ? [prepareFlag(pass.after)] : []),
      ...(kinds.length > 0
        ? [dataFlag, calibrationDataFlag, ...(kinds.includes('train') ? [trainDataFlag] : []), ...readingFlags]
        : []),
      ...(pass.compares ? [referenceFlag] : []),
      ...(pass.promises ? [evalDataFlag] : []),
      ...(kinds.includes('selection') && !pass.promises ? [metricFlag, judgedFlag] : []),
      ...placeFlags,
      ...outputFlags,
      ...(pass.needs.includes('train') ? [resumeFlag] : []),
      ...reportFlags
    ],
    examples: [
      `pare ${pass.name} ${beside?.names.join(' ') ?? 'model.onnx'}${pass.needs.length > 0 ? ' --data PATH' : ''}`
    ],
    run: async (given, at) => {
      const [model = '', other = ''] = [...given.positionals].reverse()
      readable(model)
      const options = optionsFrom(own, given.values)
      if (beside) options[beside.option] = readable(other)
      if (Object.keys(options).length > 0) await checkOptions(pass.name, options)
      const data = kinds.length > 0 ? dataOf(given) : {}
      const missing = pass.needs.find((kind) => !data.data && !(kind === 'train' ? data.train : data.calibration))
      if (missing) throw new PareError('E_DATA', `${pass.name} needs ${missing} data`, { hint: '--data PATH' })
      const before = given.values.get('prepare') === false ? [] : pass.after.map((name) => [name, {}] as const)
      const out = await outputOf(given, model, at)
      const report = reportOf(given)
      const metric = text(given, 'metric')
      const reference = text(given, 'reference')
      const job = {
        command: 'apply' as const,
        ...common(given, command, at),
        ...{ model, out, recipe: [...before, [pass.name, options] as const] },
        data,
        ...(metric === undefined ? {} : { metric }),
        ...judgedOf(given),
        ...(reference === undefined ? {} : { reference: readable(reference) }),
        ...(isOn(given, 'resume') ? { resume: true } : {})
      }
      return runInWorker(job, given, at, { report, wrote: true, next: () => verifyLine(given, model, out, at) })
    }
  }
  return command
}

/** Throws `E_OPTION` for values that the pass does not take. Defaults need no check, and no pass is loaded for them. */
async function checkOptions(name: string, options: unknown): Promise<void> {
  const [{ passFor }, { parseOptions }] = await Promise.all([import('../passes/index.ts'), import('../passes/pass.ts')])
  parseOptions(passFor(name), options, (field) => `--${kebab(field)}`)
}
