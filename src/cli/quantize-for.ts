import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { dtypes, dtypesFor } from '../search/presets.ts'
import { common, dataOf, folder, reportOf } from './check.ts'
import { type Command, text } from './command.ts'
import { runInWorker } from './run.ts'
import { dataFlag, outputFlags, placeFlags, readingFlags, reportFlags } from './shared-flags.ts'

const presets = ['transformers-js'] as const

/** `pare quantize-for` */
export const command: Command = {
  name: 'quantize-for',
  summary: 'make the files that a library loads by name, for every model of a folder',
  positionals: [{ name: 'transformers-js' }, { name: 'FOLDER' }],
  writes: true,
  flags: [
    {
      name: 'only',
      kind: 'list',
      hint: 'TYPES',
      group: 'output',
      about: `types to make, separated by commas: ${dtypes.join(', ')}; all by default`
    },
    {
      name: 'out',
      short: 'o',
      kind: 'text',
      hint: 'FOLDER',
      group: 'output',
      about: 'where to write onnx/…; by default beside the models'
    },
    ...outputFlags.filter((f) => f.name === 'force'),
    dataFlag,
    ...readingFlags,
    ...placeFlags.filter((f) => f.name !== 'target'),
    ...reportFlags.map((f) =>
      f.name === 'report' ? { ...f, hint: 'FILE.json', about: 'write the report as JSON' } : f
    )
  ],
  examples: ['pare quantize-for transformers-js FOLDER --only q8,q4f16'],
  more: 'Every file is run beside its original; status 3: one failed, and was not written.',
  run: async (given, at) => {
    const [preset = '', model = ''] = given.positionals
    if (!presets.some((p) => p === preset)) throw unknownPreset(preset)
    folder(model)
    const only = given.values.get('only') as readonly string[] | undefined
    if (only) dtypesFor(only)
    const report = reportOf(given)
    if (report !== undefined && !/\.json$/i.test(report))
      throw new PareError('E_USAGE', 'the report of a family is JSON', { hint: '--report FILE.json' })
    const out = text(given, 'out')
    const job = {
      command: 'quantize-for' as const,
      ...common(given, command, at),
      ...{ model, data: dataOf(given) },
      ...(only ? { only } : {}),
      ...(out === undefined ? {} : { out })
    }
    return runInWorker(job, given, at, { report })
  }
}

function unknownPreset(name: string): PareError {
  const close = nearest(name, presets)
  return new PareError('E_USAGE', `there is no preset ${name}`, {
    facts: { presets: presets.join(', ') },
    ...(close === undefined ? {} : { hint: `pare quantize-for ${close} FOLDER` })
  })
}
