import { common, dataOf, maxTimeOf, readable, reportOf } from './check.ts'
import { type Command, number, text } from './command.ts'
import { runInWorker } from './run.ts'
import {
  costModelFlag,
  dataFlag,
  forceFlag,
  maxTimeFlag,
  placeFlags,
  readingFlags,
  reportFlags,
  secondsFlag
} from './shared-flags.ts'

/** `pare bench` */
export const command: Command = {
  name: 'bench',
  summary: 'measure the latency of a model, or of two in one interleaved run',
  opens: true,
  positionals: [{ name: 'model.onnx' }],
  flags: [
    { name: 'vs', kind: 'text', hint: 'FILE', group: 'target', about: 'a second model, timed in the same run' },
    dataFlag,
    ...readingFlags,
    ...placeFlags,
    costModelFlag,
    secondsFlag,
    maxTimeFlag,
    forceFlag,
    ...reportFlags
  ],
  examples: ['pare bench model.onnx', 'pare bench model.onnx --vs model.pare.onnx'],
  more: 'Without --data the inputs are drawn by the seed.',
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const other = text(given, 'vs')
    if (other !== undefined) readable(other)
    const seconds = number(given, 'seconds')
    const job = {
      command: 'bench' as const,
      ...common(given, command, at),
      ...{ model, data: dataOf(given) },
      ...(other === undefined ? {} : { other }),
      ...(seconds === undefined ? {} : { seconds }),
      ...maxTimeOf(given)
    }
    return runInWorker(job, given, at, { report: reportOf(given) })
  }
}
