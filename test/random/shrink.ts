/** Makes a failing graph smaller while it still fails: fewer outputs, fewer nodes, values that are fed instead of made. */
import { edit } from '../../src/ir/edit.ts'
import { reads } from '../../src/ir/graph.ts'
import { print } from '../../src/ir/print.ts'
import { parse } from '../../src/ir/text.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import type { Model, Node } from '../../src/types.ts'

/** The smallest text found; `fails` is asked at most `most` times. */
export async function shrunk(text: string, fails: (text: string) => Promise<boolean>, most = 150): Promise<string> {
  let best = text
  let asked = 0
  for (let isSmaller = true; isSmaller && asked < most; ) {
    isSmaller = false
    for (const smaller of candidates(inferShapes(parse(best)))) {
      const spelled = attempt(smaller)
      if (spelled === undefined || spelled.length >= best.length) continue
      if (++asked > most) break
      if (!(await fails(spelled))) continue
      best = spelled
      isSmaller = true
      break
    }
  }
  return best
}

/** The text of a smaller model; `undefined` where it is no model. */
function attempt(make: () => Model): string | undefined {
  try {
    const text = print(make())
    parse(text)
    return text
  } catch {
    return undefined
  }
}

function* candidates(m: Model): Generator<() => Model> {
  const { graph } = m
  if (graph.outputs.length > 1) for (const id of graph.outputs) yield () => swept(m, (d) => d.setOutputs([id]))
  for (const n of [...graph.nodes].reverse()) {
    yield () => fed(m, n)
    yield () => bypassed(m, n)
    yield () => ended(m, n)
  }
}

type Change = Parameters<typeof edit>[1]

/** The change, without what nothing reads then. */
function swept(m: Model, change: Change): Model {
  return edit(m, (d) => {
    change(d)
    d.sweep()
    const read = new Set([...d.nodes().flatMap(reads), ...d.outputs])
    d.setInputs(d.inputs.filter((id) => read.has(id)))
  })
}

/** What the node makes is an input. */
const fed = (m: Model, n: Node): Model =>
  swept(m, (d) => {
    const made = n.outputs.filter((id) => id !== '' && d.consumers(id).length > 0)
    if (
      made.length === 0 ||
      made.some((id) => d.isOutput(id) || !d.value(id)?.shape || d.value(id)?.shape?.includes('?'))
    )
      throw new Error('cannot be fed')
    d.remove(n)
    d.setInputs([...d.inputs, ...made])
  })

/** Its first input stands for what it makes. */
const bypassed = (m: Model, n: Node): Model =>
  swept(m, (d) => {
    const [input, output] = [n.inputs[0], n.outputs[0]]
    if (!input || !output || d.isOutput(output)) throw new Error('cannot be left out')
    d.remove(n)
    d.rewire(output, input)
  })

/** What the node makes is the output. */
const ended = (m: Model, n: Node): Model =>
  swept(m, (d) => {
    const id = n.outputs[0]
    if (!id || d.outputs.length !== 1 || d.isOutput(id)) throw new Error('is the end')
    d.setOutputs([id])
  })
