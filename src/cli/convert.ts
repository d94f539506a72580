import { common, outputOf, readable, reportOf } from './check.ts'
import { type Command, isOn } from './command.ts'
import { runInWorker } from './run.ts'
import { outputFlags, reportFlags } from './shared-flags.ts'

/** `pare convert` */
export const command: Command = {
  name: 'convert',
  summary: 'read a model and write it as ONNX, raised to the opset that Pare works in',
  positionals: [{ name: 'model' }],
  flags: [
    ...outputFlags,
    { name: 'external', kind: 'boolean', group: 'output', about: 'weights in a file beside the model' },
    ...reportFlags
  ],
  examples: ['pare convert model.onnx -o raised.onnx'],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const out = outputOf(given, model)
    const report = reportOf(given)
    const job = {
      command: 'convert' as const,
      ...common(given, command, at.argv),
      ...{ model, out, external: isOn(given, 'external') }
    }
    return runInWorker(job, given, at, { report, wrote: true })
  }
}
