/** The Report's layers: what each became, what it lost, and what kind it is. */
import { listed } from '../../base/listed.ts'
import { allGraphs } from '../../ir/graph.ts'
import { layersOf } from '../../measure/layers.ts'
import type { Layer } from '../../report/types.ts'
import type { Dataset, Model } from '../../types.ts'
import type { JobHooks } from '../job.ts'
import { opensFiles, scorer } from '../runtimes.ts'
import { type KindLayer, kindOf } from './inspect.ts'
import type { Opened } from './open.ts'
import { shapesOn } from './synthetic.ts'

/** Compares two models layer by layer on the first samples of `data`; `alone`: also each layer alone. */
export async function comparedLayers(
  o: Opened,
  compressed: Model,
  data: Dataset,
  hooks: JobHooks,
  { alone = false }: { readonly alone?: boolean } = {}
): Promise<readonly KindLayer[]> {
  const layers = await layersOf(o.model, compressed, {
    // Layers are those of ONNX's operators, also of models that another runtime measures.
    runner: opensFiles(scorer(o), 'onnx') ? scorer(o) : o.engine,
    dataset: data,
    threads: o.threads,
    alone,
    shapes: await shapesOn(o, data),
    signal: hooks.signal,
    progress: (stage, done, total) => hooks.progress(stage === 'layers' ? 'comparing layers' : stage, done, total)
  })
  const kinds = new Map(allGraphs(o.model).flatMap((g) => g.nodes.map((n) => [n.name, kindOf(g, n)] as const)))
  return layers.map((l) => ({ ...l, kind: kinds.get(l.node) ?? l.op }))
}

/** What the ranges of a compressed model say of how it was made, whoever made it, and what to do. */
export function layerAdvice(layers: readonly Layer[]): string[] {
  const told = (found: readonly Layer[], what: string): string[] => {
    if (found.length === 0) return []
    return [`${listed(found.map((l) => l.node))}: ${what}`]
  }
  const isHalfUnused = ({ activation: a }: Layer): boolean =>
    a !== undefined && a.range.min >= 0 && -a.covered.low > 0.3 * (a.covered.high - a.covered.low)
  const isCut = ({ activation: a }: Layer): boolean => (a?.clipped ?? 0) > 0.01
  const isSoftmax = (l: Layer): boolean => l.op === 'Softmax' && l.activation !== undefined
  return [
    ...told(
      layers.filter(isHalfUnused),
      'half of the codes stand for negative values, and there are none: quantize activations with a zero point of their own instead of symmetrically'
    ),
    ...told(
      layers.filter(isCut),
      'more than 1 % of the values are cut off: calibrate on more samples that look like these, or with calibrator minmax'
    ),
    ...told(layers.filter(isSoftmax), 'probabilities in steps of 1/256, and most are smaller: exclude the Softmax')
  ]
}
