import type { Report } from '../report/types.ts'
import { common, dataOf, judgedOf, maxTimeOf, readable, reportOf } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import type { Flag } from './flags.ts'
import { baselineOf, gated, gateFlags, refuseGateFlags, summaryPath } from './gate.ts'
import { runInWorker } from './run.ts'
import {
  dataFlag,
  evalDataFlag,
  forceFlag,
  maxTimeFlag,
  metricFlags,
  placeFlags,
  readingFlags,
  reportFlags,
  secondsFlag
} from './shared-flags.ts'

const layersFlag: Flag = {
  name: 'layers',
  kind: 'boolean',
  group: 'accuracy',
  about: 'every layer, the worst first: its error, what it alone does to the output, ranges, saturation'
}

const enginesFlag: Flag = {
  name: 'engines',
  kind: 'boolean',
  group: 'accuracy',
  about: 'run both models in onnxruntime-web too and compare; by default with --layers and for target ort-web'
}

/** `pare verify` */
export const command: Command = {
  name: 'verify',
  summary: 'compare a compressed model with its original: metrics, layers, speed, load time, memory',
  opens: true,
  positionals: [{ name: 'original.onnx' }, { name: 'compressed.onnx' }],
  flags: [
    dataFlag,
    evalDataFlag,
    ...readingFlags,
    ...metricFlags,
    ...placeFlags,
    layersFlag,
    enginesFlag,
    secondsFlag,
    maxTimeFlag,
    {
      name: 'baseline',
      kind: 'text',
      hint: 'report.json',
      group: 'gate',
      about: 'tell what got worse since this report; --max-drop is then the loss since it'
    },
    ...gateFlags,
    forceFlag,
    ...reportFlags
  ],
  examples: [
    'pare verify model.onnx model.pare.onnx --data photos/ --preprocess imagenet --max-drop 1%',
    'pare verify model.onnx model.pare.onnx --data test.npz --layers --report layers.html'
  ],
  more: 'All samples are used, or those that --max-time leaves room for. Status 3: more than --max-drop is lost, or since --baseline more than a bound got worse.',
  run: async (given, at) => {
    const [model = '', other = ''] = given.positionals
    readable(model)
    readable(other)
    const report = reportOf(given)
    const baseline = text(given, 'baseline')
    const was = baseline === undefined ? undefined : baselineOf(baseline)
    if (was) summaryPath(given)
    else refuseGateFlags(given)
    const [metric, maxDrop, seconds] = [text(given, 'metric'), number(given, 'max-drop'), number(given, 'seconds')]
    const job = {
      command: 'verify' as const,
      ...common(given, command, at),
      ...{ model, other, data: dataOf(given) },
      ...(metric === undefined ? {} : { metric }),
      ...judgedOf(given),
      ...(maxDrop === undefined || was ? {} : { maxDrop }),
      ...(seconds === undefined ? {} : { seconds }),
      ...maxTimeOf(given),
      ...(isOn(given, 'layers') ? { layers: true } : {}),
      ...(given.values.has('engines') ? { engines: isOn(given, 'engines') } : {})
    }
    const gate = was && ((is: Report) => gated(baseline ?? '', was, is, given))
    return runInWorker(job, given, at, { report, layers: isOn(given, 'layers'), ...(gate ? { gate } : {}) })
  }
}
