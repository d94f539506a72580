import { basename, extname } from 'node:path'
import { PareError } from '../base/errors.ts'
import { identifier } from '../compile/index.ts'
import { besideOf, writeBeside } from '../node/loader.ts'
import type { Recipe } from '../passes/types.ts'
import { common, readable, reportOf, writable } from './check.ts'
import { type Command, isOn, text } from './command.ts'
import type { Parsed } from './flags.ts'
import { outputOf, verifyLine } from './output.ts'
import { runInWorker } from './run.ts'
import { outputFlags, reportFlags } from './shared-flags.ts'

/** What makes a graph of operators that have loops: sizes and constants known, normalizations and clamps in the layers before them. */
const prepared = (sizes: string, samples: boolean): Recipe => [
  ['fix-sizes', { sizes, samples }],
  ['simplify', {}],
  ['fuse', {}]
]

/** `pare compile` */
export const command: Command = {
  name: 'compile',
  summary: 'turn a model into one WebAssembly module, or one C file, that needs no runtime',
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
    {
      name: 'emit',
      kind: 'text',
      hint: 'wasm|c',
      group: 'options',
      about: 'what to write; by default what the output’s ending says, else wasm'
    },
    { name: 'inline', kind: 'boolean', group: 'output', about: 'the loader holds the module too, and reads no file' },
    {
      name: 'tune',
      kind: 'boolean',
      group: 'options',
      about: 'measure here how the kernels of each layer run fastest; kept on disk for the next time'
    },
    {
      name: 'html',
      kind: 'boolean',
      group: 'output',
      about: 'a page too, in one file, that holds the module and runs it'
    },
    ...outputFlags.map((f) =>
      f.name === 'out' ? { ...f, default: 'NAME.pare.wasm, or NAME.pare.c with --emit c' } : f
    ),
    ...reportFlags
  ],
  examples: [
    'pare compile model.onnx -o model.wasm --inline',
    'pare compile model.onnx -o model.wasm --html',
    'pare compile model.onnx -o model.wasm --tune',
    'pare compile model.onnx -o model.wasm --batch-sizes 1,8',
    'pare compile model.onnx -o model.c --sizes N=1'
  ],
  run: async (given, at) => {
    const [model = ''] = given.positionals
    readable(model)
    const asked = { ...given, values: new Map([...given.values, ['target', targetIn(given)] as const]) }
    const out = await outputOf(asked, model, at)
    const force = isOn(given, 'force')
    const beside = { inline: isOn(given, 'inline'), page: isOn(given, 'html') }
    if (beside.page && extname(out) === '.c')
      throw new PareError('E_USAGE', 'a page holds a module, not C', { hint: '-o model.wasm' })
    if (given.values.has('batchSizes') && extname(out) === '.c')
      throw new PareError('E_USAGE', 'C runs one number of samples; --batch-sizes is of modules', {
        hint: '--sizes, with the name of the first axis, or -o model.wasm'
      })
    const tune = isOn(given, 'tune')
    if (tune && extname(out) === '.c')
      throw new PareError('E_USAGE', 'C is not tuned: nothing here runs it', {
        hint: 'without --tune, or -o model.wasm'
      })
    for (const path of besideOf(out, beside)) writable(path, force)
    const symbol = extname(out) === '.c' ? { write: { symbol: identifier(basename(out, '.c')) } } : {}
    const report = reportOf(given)
    const job = {
      command: 'apply' as const,
      ...common(asked, command, at),
      ...symbol,
      ...(tune ? { tune } : {}),
      ...{ model, out, recipe: prepared(text(given, 'sizes') ?? '', !given.values.has('batchSizes')) }
    }
    const status = await runInWorker(job, given, at, {
      report,
      wrote: true,
      next: () => verifyLine(given, model, out, at)
    })
    if (status === 0) await writeBeside(out, { ...beside, force })
    return status
  }
}

const targets: Readonly<Record<string, string>> = { wasm: 'pare-wasm', c: 'pare-c99' }

/** The target of what is to be written. Throws `E_USAGE`. */
function targetIn(given: Parsed): string {
  const emit = text(given, 'emit') ?? extname(text(given, 'out') ?? '').slice(1)
  const target = Object.hasOwn(targets, emit) ? targets[emit] : undefined
  if (!target && given.values.has('emit'))
    throw new PareError('E_USAGE', `--emit takes wasm or c, not ${emit}`, { hint: '--emit c' })
  return target ?? 'pare-wasm'
}
