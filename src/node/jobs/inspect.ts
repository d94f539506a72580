/** `inspect`: where the bytes and the work are, and what could be saved. Reads no weights, but for groups of channels. */

import { hasStages } from '../../data/adaptive.ts'
import type { AnyFormat, Catalog } from '../../formats/types.ts'
import { allGraphs, graphView, opName, producer, soleConsumer } from '../../ir/graph.ts'
import { print, printType } from '../../ir/print.ts'
import { elementCount, isFloat, tensorBytes } from '../../ir/tensor.ts'
import { linearOf } from '../../ops/ask.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import { opFor } from '../../ops/index.ts'
import { ownersOf } from '../../ops/owners.ts'
import type { GroupLine } from '../../report/groups.ts'
import type { Inspection, Saving, Share } from '../../report/inspection.ts'
import type { Layer } from '../../report/types.ts'
import { bytesText, countText, fileName, whole } from '../../report/words.ts'
import type { Graph, Measurement, Model, Node } from '../../types.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { factsOf, type Opened, openJob } from './open.ts'
import { preflightOf } from './preflight.ts'
import { countsOf } from './sizes.ts'
import { guessedShapes, workNotes } from './synthetic.ts'

/** A layer with a finer word for what it is than its operator. */
export type KindLayer = Layer & { readonly kind: string }

/** What is in a model. Throws what reading a model throws. */
export async function inspectJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const o = await openJob(job, catalog)
  const shapes = guessedShapes(o)
  const before: Measurement = { bytes: o.bytes, ...countsOf(o.model, o.bytes, { shapes }), metrics: {} }
  const layers = layersWithCost(
    o.model,
    shapes,
    catalog.formats.find((f) => f.name === o.model.origin?.format)
  )
  // Loaded for models with stages alone, as it brings all passes.
  const staged = hasStages(o.model) ? await import('./staged.ts') : undefined
  const { graph } = o.model
  const typed = (id: string): string => `${id}: ${printType(graph.values.get(id))}`
  return {
    unmet: false,
    report: {
      ...o.report,
      before,
      layers,
      ...(job.target === undefined ? {} : await preflightOf(o, job.model, hooks))
    },
    inspection: {
      name: fileName(job.model),
      facts: factsOf(o, before),
      inputs: o.inputs.map((i) => typed(i.name)),
      outputs: graph.outputs.map(typed),
      bytes: bytesOf(o, layers),
      work: sharesOf(layers, (l) => (l.macs === undefined ? undefined : l.macs)),
      ...staged?.inspectedStages(o.model, shapes),
      ...withNotes(advice(o.model, layers), [
        ...o.notes,
        ...workNotes(o, shapes),
        ...(staged?.stageNotes(o.model) ?? [])
      ])
    },
    ...(job.graph ? { text: print(o.model) } : {}),
    ...(job.groups ? { groups: await groupsOf(o, hooks) } : {})
  }
}

/** As `prune-channels` sees them: with computed shapes folded, and equal constants apart. */
async function groupsOf(o: Opened, { signal, progress }: JobHooks): Promise<readonly GroupLine[]> {
  const [{ describeGroups }, { applyRecipe }] = await Promise.all([
    import('../../passes/prune/describe.ts'),
    import('../../passes/recipe.ts')
  ])
  const { engine, target, rng } = o
  const folded = await applyRecipe(o.model, [['simplify', { merge: false }]], {
    ...{ engine, target, rng, signal, progress, data: {} }
  })
  return describeGroups(folded.model)
}

/** One layer per node that holds weights, works, or might work: bytes of its constants as the file holds them, and MACs. */
export function layersWithCost(model: Model, shapes?: Shapes, format?: AnyFormat): KindLayer[] {
  const cost = costOf(model, shapes).byNode
  const held = bytesByNode(format?.spelled?.(model) ?? model)
  const layers: KindLayer[] = []
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) {
      const bytes = held.get(node.name) ?? 0
      const macs = cost.get(node)
      if (bytes === 0 && macs === 0) continue
      layers.push({
        ...{ node: node.name, op: opName(node), kind: kindOf(graph, node), bytes },
        ...(macs === undefined ? {} : { macs })
      })
    }
  return layers
}

/** Bytes of constants by the node that owns them (ownersOf): codes, scales and whatever they are expanded by included. */
function bytesByNode(model: Model): ReadonlyMap<string, number> {
  const owners = ownersOf(model)
  const seen = new Set<unknown>()
  const held = new Map<string, number>()
  for (const graph of allGraphs(model))
    for (const { id, data } of graph.values.values()) {
      const owner = owners.get(id)
      if (!data || !owner || seen.has(data)) continue
      seen.add(data)
      held.set(owner.name, (held.get(owner.name) ?? 0) + tensorBytes(data))
    }
  return held
}

/** Shares that add up to the file: what no layer holds are nodes, names and whatever else a file has. */
function bytesOf(o: Opened, layers: readonly KindLayer[]): readonly Share[] {
  const shares = sharesOf(layers, (l) => l.bytes ?? 0)
  const rest = o.bytes - shares.reduce((n, s) => n + (s.value ?? 0), 0)
  return rest > 0 ? [...shares, { kind: 'nodes and names', value: rest, layers: 0 }].sort(byValue) : shares
}

const byValue = (a: Share, b: Share): number => (b.value ?? 0) - (a.value ?? 0)

/** `Conv 3×3`, `Conv depthwise`, or the operator's name. */
export function kindOf(graph: Graph, node: Node): string {
  const layer = linearOf(graphView(graph), node)
  if (!layer?.patch) return opName(node)
  const isDepthwise = layer.inputs === 1 && !layer.patch.transposed
  if (layer.groups > 1) return `${opName(node)} ${isDepthwise ? 'depthwise' : 'grouped'}`
  return `${opName(node)} ${layer.patch.axes.map((a) => a.kernel).join('×')}`
}

function sharesOf(layers: readonly KindLayer[], of: (l: KindLayer) => number | undefined): Share[] {
  const groups = new Map<string, { value: number | undefined; layers: number }>()
  for (const l of layers) {
    const g = groups.get(l.kind) ?? { value: 0, layers: 0 }
    const value = of(l)
    groups.set(l.kind, {
      value: g.value === undefined || value === undefined ? undefined : g.value + value,
      layers: g.layers + 1
    })
  }
  return [...groups].map(([kind, g]) => ({ kind, ...g })).sort(byValue)
}

// ---------------------------------------------------------------- what could be saved

const small = 1024

const withNotes = (
  found: Pick<Inspection, 'savings' | 'warnings'>,
  notes: readonly string[]
): Pick<Inspection, 'savings' | 'warnings'> => ({ ...found, warnings: [...found.warnings, ...notes] })

function advice(model: Model, layers: readonly KindLayer[]): Pick<Inspection, 'savings' | 'warnings'> {
  const savings: Saving[] = []
  const warnings: string[] = []
  const norms = foldableNorms(model)
  if (norms.count > 0)
    savings.push({
      what: `fold ${whole(norms.count)} BatchNormalization${norms.count === 1 ? '' : 's'}`,
      effect: `−${bytesText(norms.bytes)}, fewer nodes`,
      command: 'pare fuse'
    })
  const idle = count(model, (n) => opFor(n)?.idle === true)
  if (idle > 0)
    savings.push({ what: `drop ${whole(idle)} nodes that do nothing`, effect: 'fewer nodes', command: 'pare simplify' })
  const floats = floatWeights(model)
  if (floats > small) {
    savings.push({
      what: 'int8 weights',
      effect: `−${bytesText(floats * 0.75)}, same speed`,
      command: 'pare quantize-weights'
    })
    // In subgraphs nothing is calibrated.
    const outside = new Set(model.graph.nodes.map((n) => n.name))
    const fit = layers.filter((l) => outside.has(l.node) && opFor(l)?.quant?.weights && (l.macs ?? 0) > 0)
    const macs = fit.reduce((n, l) => n + (l.macs ?? 0), 0)
    if (fit.length > 0)
      savings.push({
        what: `int8 arithmetic in ${whole(fit.length)} layers`,
        effect: `${countText(macs)} MACs as integers`,
        command: 'pare quantize-static --data PATH'
      })
  }
  const depthwise = layers.filter((l) => l.kind.endsWith('depthwise'))
  if (depthwise.length > 0 && floats > small)
    warnings.push(
      `${whole(depthwise.length)} depthwise layer${depthwise.length === 1 ? ' loses' : 's lose'} accuracy in int8 (narrow ranges); keeping them in float costs ${bytesText(depthwise.reduce((n, l) => n + (l.bytes ?? 0), 0))}`
    )
  const unknown = layers.filter((l) => l.macs === undefined)
  if (unknown.length > 0)
    warnings.push(`the work of ${whole(unknown.length)} node${unknown.length === 1 ? ' is' : 's is'} unknown (?)`)
  return { savings, warnings }
}

const count = (model: Model, is: (n: Node) => boolean): number =>
  allGraphs(model).reduce((n, g) => n + g.nodes.filter(is).length, 0)

/** Normalisations that read the only use of a convolution or product. */
function foldableNorms(model: Model): { count: number; bytes: number } {
  let [n, bytes] = [0, 0]
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) {
      const input = node.inputs[0]
      if (node.op !== 'BatchNormalization' || node.domain !== undefined || !input) continue
      const made = producer(graph, input)
      if (!made || !opFor(made)?.linear || soleConsumer(graph, input) !== node) continue
      n++
      for (const id of node.inputs.slice(1)) {
        const data = id === null ? undefined : graph.values.get(id)?.data
        if (data) bytes += tensorBytes(data)
      }
    }
  return { count: n, bytes }
}

/** Bytes of float weights of operators whose weights are worth storing in fewer bits. */
function floatWeights(model: Model): number {
  const seen = new Set<unknown>()
  let bytes = 0
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) {
      if (!opFor(node)?.weights) continue
      for (const id of node.inputs) {
        const data = id === null ? undefined : graph.values.get(id)?.data
        if (!data || seen.has(data) || !isFloat(data.dtype) || data.shape.length < 2) continue
        seen.add(data)
        if (elementCount(data.shape) >= 128) bytes += tensorBytes(data)
      }
    }
  return bytes
}
