/**
 * A call takes only some ten thousand arguments: `Math.max(...values)` throws a RangeError on long lists, and only there.
 * So whatever is spread into a call stands in this list, with the reason why it is short. For other lists there are
 * `least` and `greatest` (base/extremes.ts), and loops.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'

/** File → what is spread → why it is short; or why all of a file is. */
const allowed: Readonly<Record<string, Readonly<Record<string, string>> | string>> = {
  'cli/fault.ts': {
    'stackOf(error).map((l) => style.dim(` ${plain(l, 400)}`))': 'lines of a stack trace'
  },
  'cli/help.ts': {
    '[...rows.values()].flat().map((r) => width(r.left))': 'flags of a command',
    'wrapped(r.left, r.text, wide, style)': 'lines of one help text',
    'page.examples.map((e) => ` ${e}`)': 'examples of a command',
    'groups.flatMap((g) => g.commands.map((c) => width(c.name)))': 'commands',
    'commands.map((c) => width(c.name))': 'commands',
    'columns(rows, 4, 3, [wide])': 'commands of a group'
  },
  'cli/passes.ts': {
    'passes.map((p) => p.name.length)': 'passes of a group'
  },
  'compile/kernels/copy.ts': 'statements of one kernel',
  'compile/c/print.ts': { 'e.of': 'operands of one expression' },
  'compile/integer/dense.ts': 'four operands of one expression',
  'compile/integer/joined.ts': 'eight numbers of one layer',
  'compile/kernels/depth.ts': 'positions of four, and of a window of at most 64 steps',
  'compile/kernels/planes.ts': { phases: 'positions of a stride' },
  'compile/kernels/recode.ts': 'four operands of one expression',
  'compile/kernels/windows.ts': 'statements of one kernel',
  'compile/packing.ts': 'channels of one tile',
  'compile/tune.ts': 'ways of one kernel',
  'compile/wasm/print.ts': 'bytes of one instruction',
  'data/metrics.ts': {
    scored: 'a tuple'
  },
  'data/parts.ts': {
    g: 'positions of a part that is too small to stand alone'
  },
  'federate/net/join.ts': { all: 'arguments of fetch' },
  'federate/privacy/accountant.ts': { terms: 'at most 257 terms of one order' },
  'federate/secure/client.ts': { 'keys.values()': 'clients of one round' },
  'federate/secure/messages.ts': {
    '[...list].sort(([a], [b]) => a - b).flatMap(([client, bytes]) => [[client, 2] as const, bytes])':
      'clients of one round'
  },
  'federate/secure/part.ts': { 'bytes.subarray(i, i + 8192)': '8,192 bytes at a time' },
  'federate/secure/setup.ts': { keys: 'clients of one round' },
  'formats/dl4j/layers/conv.ts': {
    'stored(c, w)': 'sizes of one weight'
  },
  'formats/onnx/digits.ts': {
    'planes.map(digitsPerByte)': 'planes of digits, at most eight'
  },
  'formats/onnx/foldable.ts': {
    added: 'constants that spell one weight'
  },
  'formats/onnx/gap.ts': {
    'storeApart(t, bits)': 'ways to store one weight'
  },
  'formats/onnx/opsets.ts': {
    names: 'attribute names in the source'
  },
  'formats/tflite/facts.ts': {
    '[...inputs.slice(0, 1), ...outputs].map((t) => wide(shapeOf(t) ?? []))': 'inputs and outputs of a node'
  },
  'ir/text.ts': {
    values: 'expressions in a template in the source'
  },
  'node/jobs/allowed.ts': {
    'fit.notes': 'notes of one measurement'
  },
  'node/jobs/quantize-for.ts': {
    '(await familyOf(m, wanted, work))': 'files made from one model',
    'threadNotes(runners, threads)': 'at most one'
  },
  'node/presets/compare.ts': {
    known: 'outputs that a preset compares'
  },
  'node/tokenizer.ts': {
    kept: 'texts of one sample, at most two'
  },
  'node/worker.ts': {
    'm.told': 'a tuple'
  },
  'ops/cost.ts': {
    '(possible as number[])': 'subgraphs of a node'
  },
  'ops/einsum.ts': {
    'found.sizes.values()': 'letters of an equation, at most 52'
  },
  'ops/move.ts': {
    '(content ?? unknownDims(length as number))': 'followed elements of a value, at most 64'
  },
  'ops/reduce.ts': {
    content: 'followed elements of a value, at most 64'
  },
  'ops/resize.ts': {
    ratios: 'axes of a value'
  },
  'passes/adaptive/early-exit.ts': { rest: 'arguments of a report of progress' },
  'passes/factorize/splits.ts': {
    'all.map(({ ranks }) => ranks[0] as number)': 'ways to split one layer'
  },
  'passes/fuse/gelus.ts': {
    "['Erf(Div(x, 1.41421356))', 'Erf(Mul(x, 0.70710678))'].flatMap(halved)": 'formulas in the source',
    'inner.flatMap((u) => halved(`Tanh(${u})`))': 'formulas in the source'
  },
  'passes/fuse/norms.ts': {
    'normal.map((n) => `Add(Mul(${n}, #g), #b)`)': 'formulas in the source',
    scaled: 'formulas in the source',
    'normal.map((n) => `Mul(${n}, #g)`)': 'formulas in the source',
    'low.map((n) => `Mul(down=Cast(${n}), #g)`)': 'formulas in the source',
    'rms.map((n) => `Mul(${n}, #g)`)': 'formulas in the source',
    normal: 'formulas in the source'
  },
  'passes/fuse/skips.ts': {
    skipNorm: 'formulas in the source'
  },
  'passes/prune/blocks.ts': {
    'heldBlock(graph, places, add, a, b)': 'at most one',
    'reads(n)': 'inputs of a node'
  },
  'passes/quantize/mix/knapsack.ts': {
    'choices.map((c) => c.cost)': 'types that a weight can have, at most 255'
  },
  'passes/quantize/mix/latency.ts': {
    '(await giveBack(job, start, { ...o, maxDrop: o.maxDrop }, ctx))':
      'one for every step of the search for float layers'
  },
  'passes/quantize/mix/report.ts': {
    steps: 'types that a weight can have'
  },
  'passes/quantize/static/groups.ts': {
    made: 'nodes around one value',
    'n.constants.map((i) => n.node.inputs[i] as string)': 'constants of a node',
    'g.ids': 'values under one scale',
    'g.taps': 'values under one scale',
    'g.constants': 'constants under one scale'
  },
  'passes/recipe.ts': {
    again: 'passes of a recipe'
  },
  'report/html.ranges.ts': {
    tables: 'at most two'
  },
  'report/html.ts': {
    charts: 'charts of one section',
    "all.map( ([name, points]) => html`<h3>${name}</h3>${curveChart(name, points)}<details><summary>numbers</summary><pre>${points.map(([x, y]) => `${x}\\t${y}`).join(' · ')}</pre></details>` )":
      'charts of one section'
  },
  'report/inspection.ts': {
    'left.map((l) => l.width)': 'rows of a page: the kinds shown are few',
    'columns( i.savings.map((s): Cell[] => [ cell(plain(s.what, 60)), cell(plain(s.effect, 60)), cell(s.command, style.accent) ]), 4 )':
      'rows of a page: the kinds shown are few'
  },
  'report/preflight-text.ts': {
    'columns( [...grouped(all)].map(([, same]) => rowOf(same, style)), 4 )': 'kinds of operators in a model'
  },
  'search/fitted.ts': {
    'made.notes.map((note) => `${name}: ${note}`)': 'notes of one candidate'
  },
  'search/prove.ts': {
    'doubts(promised, input.maxDrop)': 'notes on one promise'
  },
  'search/space/recipe.ts': {
    point: 'arguments of one function'
  },
  'targets/preflight.ts': {
    '(operators[i]?.reads ?? [])': 'inputs of an operator'
  },
  'train/differentiate.ts': {
    'statisticsOf(node, form, statistics.at(-1))': 'running means of one node'
  }
}

const source = join(import.meta.dirname, '../src')
const isChecked = (file: string): boolean => file.endsWith('.ts') && !/\.(test|cases)\.ts$/.test(file)

/** Arguments that are spread in the calls of a file, as they are written, their white space joined. */
function spreadsOf(text: string): string[] {
  const file = ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const walk = (node: ts.Node): void => {
    const isCall = ts.isCallExpression(node) || ts.isNewExpression(node)
    for (const a of (isCall && node.arguments) || [])
      if (ts.isSpreadElement(a)) found.push(a.expression.getText(file).replace(/\s+/g, ' '))
    ts.forEachChild(node, walk)
  }
  walk(file)
  return found
}

it('finds what is spread into calls and constructors, not what is spread into lists', () => {
  expect(spreadsOf('f(1, ...a.map((x) =>\n x)); new Set([...b]); new Date(...c)')).toEqual(['a.map((x) => x)', 'c'])
})

it('spreads only short lists into arguments', () => {
  const found = new Map<string, Set<string>>()
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(isChecked)) {
    const name = file.replaceAll('\\', '/')
    const spreads = spreadsOf(readFileSync(join(source, file), 'utf8'))
    if (spreads.length > 0) found.set(name, new Set(typeof allowed[name] === 'string' ? [] : spreads))
  }
  const listed = Object.entries(allowed).map(
    ([file, all]) => [file, new Set(typeof all === 'string' ? [] : Object.keys(all))] as const
  )
  expect(found).toEqual(new Map(listed))
})
