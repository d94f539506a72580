import { common, readable, reportOf } from './check.ts'
import type { Command } from './command.ts'
import { outputOf } from './output.ts'
import { runInWorker } from './run.ts'
import { outputFlags, reportFlags, targetFlag } from './shared-flags.ts'

/** `pare convert` */
export const command: Command = {
  name: 'convert',
  summary: 'write a model in the format of its target, raised to the opset that Pare works in',
  opens: true,
  positionals: [{ name: 'model' }],
  writes: true,
  flags: [...outputFlags, targetFlag, ...reportFlags],
  examples: ['pare convert model.onnx -o raised.onnx'],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const out = await outputOf(given, model, at)
    const report = reportOf(given)
    const job = {
      command: 'convert' as const,
      ...common(given, command, at),
      ...{ model, out }
    }
    return runInWorker(job, given, at, { report, wrote: true })
  }
}
