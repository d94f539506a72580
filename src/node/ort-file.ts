/**
 * ONNX Runtime's own format (`.ort`), which only that writes: its optimised graph, for builds that read no ONNX, as on phones.
 * Beside it goes the list of operators and element types that a reduced build must have.
 * Format of the list: https://onnxruntime.ai/docs/reference/operators/reduced-operator-config-file.html
 */
import { tmpdir } from 'node:os'
import { basename, extname } from 'node:path'
import * as ort from 'onnxruntime-node'
import { concat, toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Written } from '../formats/types.ts'
import { allGraphs } from '../ir/graph.ts'
import { inferShapes } from '../ops/infer.ts'
import type { DType, Model } from '../types.ts'
import { keepSilent, nodeRunner, scratchFolders } from './runner.ts'

/** Fusions that hold on every processor; layouts of the one at hand are left to the phone. */
const level = 'extended'

const names = { model: 'model.onnx', saved: 'model.ort' } as const

/** The bytes of the format, whose tables the runtime puts in another order from run to run. Throws `E_RUN` where the runtime does not open the model, `E_LIMIT` where weights do not fit in one file. */
export async function ortBytes(written: Written): Promise<Uint8Array> {
  if (written.external)
    throw new PareError('E_LIMIT', 'the model is too large for a file of ONNX Runtime’s own format', {
      hint: 'write it as .onnx'
    })
  keepSilent()
  const folder = await scratchFolders(tmpdir())()
  try {
    await folder.write(names.model, written.parts)
    const session = await ort.InferenceSession.create(folder.path(names.model), {
      graphOptimizationLevel: level,
      optimizedModelFilePath: folder.path(names.saved),
      logSeverityLevel: 4,
      extra: { 'session.save_model_format': 'ORT' }
    })
    await session.release()
    return concat([toArray(await folder.read(names.saved))])
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new PareError('E_RUN', `the runtime cannot open the model: ${why}`, { cause })
  } finally {
    await folder.remove()
  }
}

/** Name of the list of a model's file. */
export const listName = (path: string): string => `${basename(path, extname(path))}.required_operators_and_types.config`

/** The list of what the runtime needs for a model once it has optimised it, as its build script reads it. */
export async function requiredList(model: Model): Promise<string> {
  const runner = nodeRunner()
  const session = await runner.open(model, { keepOptimized: true, optimization: level })
  try {
    const optimized = await session.optimized?.()
    if (!optimized) throw new PareError('E_INTERNAL', 'the engine told no optimised graph')
    return listOf(inferShapes(optimized), runner.version)
  } finally {
    await session.close()
  }
}

/** Names of element types in C++, as builds are told them. Others are not limited by builds. */
const cppNames: Readonly<Partial<Record<DType, string>>> = {
  bool: 'bool',
  float32: 'float',
  float64: 'double',
  float16: 'MLFloat16',
  bfloat16: 'BFloat16',
  int8: 'int8_t',
  int16: 'int16_t',
  int32: 'int32_t',
  int64: 'int64_t',
  uint8: 'uint8_t',
  uint16: 'uint16_t',
  uint32: 'uint32_t',
  uint64: 'uint64_t',
  string: 'string'
}

function listOf(model: Model, version: string): string {
  const operators = new Map<string, Set<string>>()
  const types = new Set<string>()
  let isWhole = true
  for (const graph of allGraphs(model)) {
    for (const { op, domain = 'ai.onnx' } of graph.nodes)
      operators.set(domain, (operators.get(domain) ?? new Set()).add(op))
    for (const v of graph.values.values()) {
      const dtype = v.data?.dtype ?? v.dtype
      if (dtype === undefined) isWhole = false
      const named = dtype && cppNames[dtype]
      if (named) types.add(named)
    }
  }
  const opsetOf = (domain: string): number => (domain === 'ai.onnx' ? model.opset : (model.domains[domain] ?? 1))
  return [
    `# What ONNX Runtime ${version} needs for this model, optimised at level ${level}`,
    ...(isWhole
      ? [`!globally_allowed_types;${[...types].sort().join(',')}`]
      : ['# types are not limited: some are not known']),
    ...[...operators].sort().map(([domain, all]) => `${domain};${opsetOf(domain)};${[...all].sort().join(',')}`),
    ''
  ].join('\n')
}
