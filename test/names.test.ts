/**
 * What is known of an operator stands in its record. Outside `ops/`, `formats/` and the rule tables of `fuse`, these are the
 * only places that compare an operator's name with a literal, each with the reason why no facet says it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../src/', import.meta.url))

/** Comparisons in a file, and why they stand there. */
const allowed: Readonly<Record<string, readonly [count: number, reason: string]>> = {
  'measure/engines.ts': [1, 'a Constant node is how a file may spell a constant'],
  'node/jobs/inspect.ts': [1, 'names the node that fuse folds away'],
  'node/jobs/layers.ts': [1, 'reads a report, which holds names and no nodes'],
  'passes/quantize/cast/compute.ts': [
    3,
    'writes Cast and ConstantOfShape, whose types are attributes, and looks for its own'
  ],
  'passes/quantize/cast/joins.ts': [2, 'looks for the very pairs that ONNX Runtime joins in float32 only'],
  'passes/quantize/common/uses.ts': [1, 'blocks of a matrix have a form in place of MatMul only'],
  'passes/quantize/to-qoperator.ts': [1, 'the table of integer spellings: that of Concat is com.microsoft’s only'],
  'passes/simplify/shapes.ts': [1, 'writes new target shapes into Reshape'],
  'passes/train/learn.ts': [
    1,
    'tells by family whether a model normalizes anywhere: only the default learning rate depends on it'
  ],
  'passes/train/task.ts': [1, 'a classifier is a model that ends in Softmax'],
  'runtime/kernels.ts': [3, 'reads the optimised graph of ONNX Runtime, in its words'],
  'train/losses.ts': [2, 'replaces the last Softmax by the loss that includes it']
}

const comparison =
  /(?:\.op\b|opName\([^()]*\)) *(?:===|!==) *'|\/[a-z]*\.test\([^()]*\.op\)|case '[A-Z][A-Za-z]*':|'\]\.includes\([^()]*\.op\b/g

it('operators are asked by their records, not compared by name', () => {
  const found: Record<string, number> = {}
  for (const file of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts') || /^(ops|formats|passes\/fuse)\//.test(file)) continue
    const n = readFileSync(root + file, 'utf8').match(comparison)?.length ?? 0
    if (n > 0) found[file] = n
  }
  expect(found).toEqual(Object.fromEntries(Object.entries(allowed).map(([file, [n]]) => [file, n])))
  expect(Object.values(found).reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(20)
})
