/**
 * Models that answer easy samples early, as one graph of standard operators.
 *
 * A straight model computes for every sample the scores of all exits and of the last stage. Folded, what only later stages
 * need stands in a branch that runs for the samples that are left:
 *
 *   easy = confidence ≥ t;  hard = ¬easy
 *   y = If(any hard){ x' = Compress(x, hard); … y' …; ScatterND(scores, where hard, y') } else { scores }
 *
 * with one such branch inside the other for every further exit. NaN is never confident. Values that a stage takes over from an
 * earlier one hold a sample a row; constants that one stage alone reads stand in its branch.
 */
import { PareError } from '../base/errors.ts'
import type { AttrInput, Dim, Graph, Model, Node, Tensor, Value } from '../types.ts'
import { attrGraph, attrs as makeAttrs } from './attrs.ts'
import { codeOfDtype } from './dtype-code.ts'
import { edit, renameReads, takenIds } from './edit.ts'
import { producer, reads, sortNodes } from './graph.ts'
import { tensor } from './tensor.ts'

/** How scores are to be read. */
export type ScoreForm = 'logits' | 'probabilities'

/** Where samples may leave a straight model. */
export interface ExitPoint {
  /** Scores of all samples, [N, C, …]: what the model gives for those that leave here. */
  readonly scores: string
  readonly threshold: number
}

/** An exit of a folded model, by the ids of its values. */
export interface Exit {
  readonly scores: string
  /** [N], float32: the greatest probability. */
  readonly confidence: string
  /** [N], bool: the samples that go on. */
  readonly hard: string
  /** The constant that confidence is compared with. */
  readonly threshold: string
}

/** A folded model, and where its exits are. */
export interface Folded {
  readonly model: Model
  readonly exits: readonly Exit[]
}

/** Nodes by the first stage that needs them: those of exit i in place i, the rest of what the output needs last. */
export function stagesOf(graph: Graph, ends: readonly string[]): Map<Node, number> {
  const stage = new Map<Node, number>()
  for (const [i, end] of ends.entries()) {
    const open = [end]
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const n = producer(graph, id)
      if (!n || stage.has(n)) continue
      stage.set(n, i)
      for (const from of reads(n)) open.push(from)
    }
  }
  return stage
}

/** State of one folding. */
interface Work {
  readonly graph: Graph
  readonly stage: ReadonlyMap<Node, number>
  /** The stage that makes a value; inputs are made before the first. */
  readonly madeIn: ReadonlyMap<string, number>
  /** The stage whose graph holds a constant: that of its only reader, else the outermost. */
  readonly heldIn: ReadonlyMap<string, number>
  readonly points: readonly ExitPoint[]
  readonly form: ScoreForm
  readonly output: string
  readonly fresh: (hint: string) => string
  /** Constants of the outermost graph that folding adds. */
  readonly outer: Map<string, Value>
  /** Names of what is handed on to each stage. */
  readonly names: Map<number, ReadonlyMap<string, string>>
  readonly exits: Exit[]
}

/**
 * Folds a straight model with inferred types and one output. Throws `E_UNSUPPORTED` where a value that later stages need does
 * not hold a sample a row, or an exit needs all of the model.
 */
export function foldStages(straight: Model, points: readonly ExitPoint[], form: ScoreForm): Folded {
  const { graph } = straight
  const output = graph.outputs[0] as string
  const ends = [...points.map((p) => p.scores), output]
  const stage = stagesOf(graph, ends)
  for (const [i, end] of ends.entries()) {
    const made = producer(graph, end)
    if (!made || stage.get(made) !== i)
      throw new PareError(
        'E_UNSUPPORTED',
        `${end} is computed with an earlier exit: nothing is left to do behind that`,
        {
          where: end
        }
      )
  }
  const madeIn = new Map([...stage].flatMap(([n, i]) => n.outputs.map((id) => [id, i] as const)))
  const taken = takenIds(straight)
  const work: Work = {
    ...{ graph, stage, madeIn, points, form, output },
    heldIn: homesOf(graph, stage),
    fresh: (hint) => {
      let id = hint
      for (let i = 1; taken.has(id); i++) id = `${hint}_${i}`
      taken.add(id)
      return id
    },
    ...{ outer: new Map(), names: new Map() },
    exits: []
  }
  const { nodes, values } = level(work, 0, output)
  const ports = [...graph.inputs, output].flatMap((id) => graph.values.get(id) ?? [])
  const all = [...ports.map((v) => [v.id, v] as const), ...values, ...work.outer]
  const folded = { ...graph, nodes: sortNodes(nodes, graph.name), values: new Map(all), outputs: [output] }
  return { model: { ...straight, graph: folded }, exits: work.exits }
}

function homesOf(graph: Graph, stage: ReadonlyMap<Node, number>): Map<string, number> {
  const home = new Map<string, number>()
  for (const [n, i] of stage)
    for (const id of reads(n))
      if (graph.values.get(id)?.data && !graph.inputs.includes(id))
        home.set(id, home.has(id) && home.get(id) !== i ? 0 : i)
  return home
}

interface Part {
  readonly nodes: readonly Node[]
  readonly values: ReadonlyMap<string, Value>
}

/** The graph of the samples that reach stage `i`; it makes `made`. */
function level(w: Work, i: number, made: string): Part {
  const nodes: Node[] = []
  const values = new Map<string, Value>()
  const add = (
    op: string,
    inputs: readonly string[],
    attrs: Record<string, AttrInput>,
    out: string,
    like?: Value
  ): string => {
    nodes.push({ name: w.fresh(`${op}_${out}`), op, inputs, outputs: [out], attrs: makeAttrs(attrs) })
    values.set(out, like ? rowsOf(like, out) : { id: out, type: 'tensor' })
    return out
  }
  const hard = w.exits[i - 1]?.hard
  // By its id in the straight model, what a value is called here.
  const names = new Map<string, string>()
  for (const id of i === 0 ? [] : handedOn(w, i)) {
    const from = (i > 1 && w.madeIn.get(id) !== i - 1 ? namesAt(w, i - 1).get(id) : undefined) ?? id
    const own = namesAt(w, i).get(id) as string
    add('Compress', [from, hard as string], { axis: 0 }, own, w.graph.values.get(id))
    names.set(id, own)
  }
  const isLast = i === w.points.length
  if (isLast) names.set(w.output, made)
  for (const n of w.graph.nodes) {
    if (w.stage.get(n) !== i) continue
    let own = n
    for (const id of new Set(reads(n))) if (names.has(id)) own = renameReads(own, id, names.get(id) as string)
    own = { ...own, outputs: own.outputs.map((id) => names.get(id) ?? id) }
    nodes.push(own)
    for (const id of n.outputs) if (id) values.set(names.get(id) ?? id, inside(w, id, names.get(id) ?? id, i))
  }
  for (const [id, at] of w.heldIn) if (at === i) values.set(id, w.graph.values.get(id) as Value)
  if (!isLast) exit(w, i, made, add)
  return { nodes: sortNodes(nodes, w.graph.name), values }
}

/** Names of what is handed on to a stage, the same whenever they are asked for. */
function namesAt(w: Work, i: number): ReadonlyMap<string, string> {
  const known = w.names.get(i)
  if (known) return known
  const names = new Map(handedOn(w, i).map((id) => [id, w.fresh(`${id}_left${i === 1 ? '' : i}`)] as const))
  w.names.set(i, names)
  return names
}

/** Values of earlier stages, and inputs, that stage `i` or a later one reads. */
function handedOn(w: Work, i: number): readonly string[] {
  const out = new Set<string>()
  for (const n of w.graph.nodes)
    if ((w.stage.get(n) ?? -1) >= i)
      for (const id of reads(n)) {
        const value = w.graph.values.get(id)
        if ((w.madeIn.get(id) ?? -1) < i && !value?.data) out.add(checked(w, id))
      }
  return [...out]
}

/** Throws `E_UNSUPPORTED` for a value that does not hold a sample a row. */
function checked(w: Work, id: string): string {
  const samples = firstOf(w.graph.values.get(w.graph.inputs[0] ?? ''))
  const rows = firstOf(w.graph.values.get(id))
  if (rows !== undefined && rows !== '?' && rows === samples) return id
  throw new PareError('E_UNSUPPORTED', `${id} is needed by later stages, and does not hold a sample a row`, {
    where: id,
    facts: {
      shape: `[${w.graph.values.get(id)?.shape?.join(', ') ?? 'unknown'}]`,
      samples: String(samples ?? 'unknown')
    }
  })
}

const firstOf = (v: Value | undefined): Dim | undefined => v?.shape?.[0]

/** A value of the outermost graph as it is; inside a branch the rows are fewer, and whatever follows from their number is unknown. */
function inside(w: Work, id: string, name: string, i: number): Value {
  const value = w.graph.values.get(id) ?? { id, type: 'tensor' }
  return i === 0 ? { ...value, id: name } : rowsOf(value, name)
}

const rowsOf = ({ type, dtype }: Value, id: string): Value => ({ id, type, ...(dtype ? { dtype } : {}) })

type Add = (
  op: string,
  inputs: readonly string[],
  attrs: Record<string, AttrInput>,
  out: string,
  like?: Value
) => string

/** Confidence of exit `i`, the samples that go on, and the branch that they take. */
function exit(w: Work, i: number, made: string, add: Add): void {
  const { scores, threshold } = w.points[i] as ExitPoint
  const value = w.graph.values.get(scores) as Value
  const hint = `exit${i + 1}`
  const constant = (data: Tensor, name: string): string => {
    const id = w.fresh(`${hint}/${name}`)
    w.outer.set(id, { id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
    return id
  }
  const own = (name: string): string => w.fresh(`${hint}/${name}`)
  const single =
    value.dtype === 'float32' ? scores : add('Cast', [scores], { to: codeOfDtype('float32') }, own('float'))
  const p = w.form === 'logits' ? add('Softmax', [single], { axis: 1 }, own('probabilities')) : single
  const axes = constant(tensor('int64', [(value.shape?.length ?? 2) - 1], rest(value)), 'classes')
  const e: Exit = {
    scores,
    confidence: add('ReduceMax', [p, axes], { keepdims: 0 }, own('confidence')),
    threshold: constant(tensor('float32', [], [threshold]), 'threshold'),
    hard: own('hard')
  }
  const easy = add('GreaterOrEqual', [e.confidence, e.threshold], {}, own('easy'))
  add('Not', [easy], {}, e.hard)
  const count = add('Cast', [e.hard], { to: codeOfDtype('int32') }, own('left'))
  const zero = constant(tensor('int64', [1], [0n]), 'samples')
  const most = add('ReduceMax', [count, zero], { keepdims: 0 }, own('most'))
  const any = add('Cast', [most], { to: codeOfDtype('bool') }, own('any'))
  w.exits.push(e)
  const inner = w.fresh(`${w.output}_left${i === 0 ? '' : i + 1}`)
  const then = level(w, i + 1, inner)
  const out = w.graph.values.get(w.output) as Value
  const branches = { then_branch: scattered(w, e, inner, then, out), else_branch: kept(w, e, out) }
  add('If', [any], mapped(branches), made, out)
}

const rest = (value: Value): bigint[] => (value.shape ?? [0, 0]).slice(1).map((_, i) => BigInt(i + 1))
const mapped = (graphs: Readonly<Record<string, Graph>>): Record<string, AttrInput> =>
  Object.fromEntries(Object.entries(graphs).map(([name, value]) => [name, { kind: 'graph', value } as const]))

/** What the samples that went on got, in the places of these. */
function scattered(w: Work, e: Exit, inner: string, then: Part, out: Value): Graph {
  const [found, index, made] = ['found', 'index', 'joined'].map((name) => w.fresh(`${inner}/${name}`)) as [
    string,
    string,
    string
  ]
  const node = (
    op: string,
    inputs: readonly string[],
    output: string,
    attrs: Record<string, AttrInput> = {}
  ): Node => ({
    ...{ name: w.fresh(`${op}_${output}`), op, inputs, outputs: [output], attrs: makeAttrs(attrs) }
  })
  const own: readonly Value[] = [found, index, made].map((id) => ({ id, type: 'tensor' }))
  return {
    name: w.fresh(`${inner}/graph`),
    inputs: [],
    outputs: [made],
    nodes: [
      ...then.nodes,
      node('NonZero', [e.hard], found),
      node('Transpose', [found], index, { perm: [1, 0] }),
      node('ScatterND', [e.scores, index, inner], made)
    ],
    values: new Map([...then.values, ...own.map((v) => [v.id, v] as const), [made, rowsOf(out, made)]])
  }
}

/** The scores of the exit as they are. */
function kept(w: Work, e: Exit, out: Value): Graph {
  const id = w.fresh(`${e.scores}_kept`)
  return {
    name: w.fresh(`${id}/graph`),
    inputs: [],
    outputs: [id],
    nodes: [{ name: w.fresh(`Identity_${id}`), op: 'Identity', inputs: [e.scores], outputs: [id], attrs: {} }],
    values: new Map([[id, rowsOf(out, id)]])
  }
}

// ---------------------------------------------------------------- and back

/** A straight model again: every stage for every sample. */
export interface Unfolded {
  readonly model: Model
  /** Confidence of every exit, and the scores of every exit and of the last stage. */
  readonly confidence: readonly string[]
  readonly scores: readonly string[]
}

/**
 * Takes the branches apart again; the outputs are confidences and scores of all stages. `undefined` where the graph is no longer
 * what `foldStages` made of it.
 */
export function unfoldStages(model: Model, exits: readonly Exit[]): Unfolded | undefined {
  const nodes: Node[] = []
  const values = new Map<string, Value>()
  const same = new Map<string, string>()
  let graph = model.graph
  let end = model.graph.outputs[0] as string
  for (const e of exits) {
    const branching = producer(graph, end)
    const then = branching && attrGraph(branching, 'then_branch')
    const joined = then && producer(then, then.outputs[0] as string)
    if (!then || joined?.inputs.length !== 3 || joined.inputs[0] !== e.scores || !producer(graph, e.hard))
      return undefined
    for (const n of graph.nodes) if (n !== branching) nodes.push(n)
    for (const v of graph.values.values()) if (v.id !== end) values.set(v.id, v)
    graph = without(then, e.hard, same)
    end = joined.inputs[2] as string
  }
  for (const n of graph.nodes) nodes.push(n)
  for (const v of graph.values.values()) values.set(v.id, v)
  const whole = [...new Set(nodes)].map((n) => followed(n, same))
  const scores = [...exits.map((e) => e.scores), end]
  const confidence = exits.map((e) => e.confidence)
  const outputs = [...confidence, ...scores]
  const made = new Set(whole.flatMap((n) => n.outputs))
  if (outputs.some((id) => !made.has(id))) return undefined
  const straight = edit({ ...model, graph: { ...model.graph, nodes: whole, values, outputs } }, (d) => {
    d.setOutputs(outputs)
    d.sweep()
  })
  return { model: straight, confidence, scores }
}

/** A branch without the nodes that pick rows by `hard`: what these made is what they read. */
function without(graph: Graph, hard: string, same: Map<string, string>): Graph {
  const picks = graph.nodes.filter((n) => n.inputs[1] === hard && n.inputs.length === 2)
  for (const n of picks) same.set(n.outputs[0] as string, n.inputs[0] as string)
  const gone = new Set(picks.flatMap((n) => n.outputs))
  return {
    ...graph,
    nodes: graph.nodes.filter((n) => !picks.includes(n)),
    values: new Map([...graph.values].filter(([id]) => !gone.has(id)))
  }
}

function followed(node: Node, same: ReadonlyMap<string, string>): Node {
  let own = node
  for (const id of new Set(reads(node))) {
    let to = id
    while (same.has(to)) to = same.get(to) as string
    if (to !== id) own = renameReads(own, id, to)
  }
  return own
}

/** The model with other thresholds, in the order of its exits. */
export function withThresholds(model: Model, exits: readonly Exit[], thresholds: readonly number[]): Model {
  return edit(model, (d) => {
    for (const [i, e] of exits.entries()) {
      const value = d.value(e.threshold)
      if (value) d.set({ ...value, data: tensor('float32', [], [thresholds[i] as number]) })
    }
  })
}
