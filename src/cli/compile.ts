import { loaderPaths, writeLoader } from '../node/loader.ts'
import type { Recipe } from '../types.ts'
import { common, readable, reportOf, writable } from './check.ts'
import { type Command, isOn, text } from './command.ts'
import { outputOf, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import { outputFlags, reportFlags } from './shared-flags.ts'

/** What makes a graph of operators that have loops: sizes and constants known, normalizations and clamps in the layers before them. */
const prepared = (sizes: string): Recipe => [
  ['fix-sizes', { sizes }],
  ['simplify', {}],
  ['fuse', {}]
]

/** `pare compile` */
export const command: Command = {
  name: 'compile',
  summary: 'turn a model into one WebAssembly module that needs no runtime, with a loader and its types',
  positionals: [{ name: 'model' }],
  writes: true,
  flags: [
    {
      name: 'sizes',
      kind: 'text',
      hint: 'T=64,N=1',
      group: 'options',
      about: 'sizes of free axes by name; a free first axis is 1'
    },
    { name: 'inline', kind: 'boolean', group: 'output', about: 'the loader holds the module too, and reads no file' },
    ...outputFlags,
    ...reportFlags
  ],
  examples: ['pare compile model.onnx -o model.wasm', 'pare compile model.onnx -o model.wasm --sizes T=64 --inline'],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const asked = { ...given, values: new Map([...given.values, ['target', 'pare-wasm'] as const]) }
    const out = await outputOf(asked, model, at)
    const force = isOn(given, 'force')
    for (const path of loaderPaths(out)) writable(path, force)
    const report = reportOf(given)
    const job = {
      command: 'apply' as const,
      ...common(asked, command, at),
      ...{ model, out, recipe: prepared(text(given, 'sizes') ?? '') }
    }
    const status = await runInWorker(job, given, at, {
      report,
      wrote: true,
      next: () => verifyLine(given, model, out, at)
    })
    if (status === 0) await writeLoader(out, { inline: isOn(given, 'inline'), force })
    return status
  }
}
