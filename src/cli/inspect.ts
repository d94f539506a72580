import { common, readable, reportOf } from './check.ts'
import { type Command, isOn } from './command.ts'
import { runInWorker } from './run.ts'
import { forceFlag, reportFlags, targetFlag } from './shared-flags.ts'

/** `pare inspect` */
export const command: Command = {
  name: 'inspect',
  summary: 'show what is in a model, what it costs, what could be saved',
  opens: true,
  positionals: [{ name: 'model.onnx' }],
  flags: [
    {
      name: 'groups',
      kind: 'boolean',
      group: 'output',
      about: 'print which channels go together, and what holds them'
    },
    {
      ...targetFlag,
      about: 'tell which operators run there, which do not and why, before any work is done'
    },
    { name: 'graph', kind: 'boolean', group: 'output', about: 'print every node in the text form' },
    forceFlag,
    ...reportFlags
  ],
  examples: [
    'pare inspect model.onnx',
    'pare inspect model.onnx --graph',
    'pare inspect model.onnx --groups',
    'pare inspect model.tflite --target edgetpu'
  ],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const job = {
      command: 'inspect' as const,
      ...common(given, command, at),
      model,
      graph: isOn(given, 'graph'),
      groups: isOn(given, 'groups')
    }
    return runInWorker(job, given, at, { report: reportOf(given) })
  }
}
