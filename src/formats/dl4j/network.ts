/** The configuration as a list of steps in the order of their parameters: layers, vertices and preprocessors alike. */
import { PareError } from '../../base/errors.ts'
import { type Conf, confOf } from './conf.ts'
import { field, isObject, type Json, type JsonObject, keyOf } from './json.ts'
import { topologicalOrder } from './order.ts'

/** Where a step's configuration stands in the JSON, for writing it changed. */
export type Path = readonly (string | number)[]

export interface Step {
  /** The vertex or layer; its result is called so. */
  readonly name: string
  readonly what: 'layer' | 'vertex' | 'preprocessor'
  readonly conf: Conf
  readonly inputs: readonly string[]
  readonly path: Path
}

export interface Network {
  readonly kind: 'MultiLayerNetwork' | 'ComputationGraph'
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly steps: readonly Step[]
}

const maxSteps = 20_000

/** Reads the configuration. Throws `E_FORMAT`, `E_UNSUPPORTED` for classes that are not DL4J's own. */
export function networkOf(json: JsonObject): Network {
  const [confs, vertices] = [field(json, 'confs'), field(json, 'vertices')]
  if (Array.isArray(confs)) return multiLayer(json, confs)
  if (isObject(vertices)) return graph(json, vertices)
  throw new PareError(
    'E_FORMAT',
    'the configuration holds neither confs nor vertices: it is no network of DeepLearning4J'
  )
}

function layerConf(json: Json | undefined, where: string): Conf {
  if (!isObject(json)) throw new PareError('E_FORMAT', 'no configuration of the layer', { where })
  const made = confOf(field(json, 'layer'), where, 'layer')
  const variables = field(json, 'variables')
  return Array.isArray(variables) ? { ...made, variables: variables.map(String) } : made
}

function multiLayer(json: JsonObject, confs: readonly Json[]): Network {
  if (confs.length > maxSteps) throw tooMany(confs.length)
  if (confs.length === 0) throw new PareError('E_FORMAT', 'a network without layers')
  const before = field(json, 'inputPreProcessors')
  const names = confs.map((c, i) => nameOf(c, i))
  const unique = new Set(names).size === names.length && !names.includes('input') && !names.includes('output')
  const steps: Step[] = []
  let last = 'input'
  const add = (step: Omit<Step, 'inputs'>): void => {
    steps.push({ ...step, inputs: [last] })
    last = step.name
  }
  for (const [i, c] of confs.entries()) {
    const name = unique ? (names[i] as string) : `layer${i}`
    const pre = isObject(before) ? field(before, String(i)) : undefined
    if (pre != null)
      add({
        name: `${name}-preprocessor`,
        what: 'preprocessor',
        conf: confOf(pre, name, 'preprocessor'),
        path: ['inputPreProcessors', String(i)]
      })
    add({ name, what: 'layer', conf: layerConf(c, name), path: ['confs', i, 'layer'] })
  }
  return { kind: 'MultiLayerNetwork', inputs: ['input'], outputs: [last], steps }
}

function nameOf(c: Json, i: number): string {
  const layer = isObject(c) ? field(c, 'layer') : undefined
  const wrapped = isObject(layer) ? [layer, ...Object.values(layer)] : []
  const name = wrapped.map((o) => (isObject(o) ? field(o, 'layerName') : undefined)).find((n) => typeof n === 'string')
  return typeof name === 'string' && name !== '' ? name : `layer${i}`
}

const tooMany = (n: number): PareError => new PareError('E_LIMIT', `${n} layers; at most ${maxSteps} are read`)

const texts = (json: Json | undefined, what: string): readonly string[] => {
  if (!Array.isArray(json) || !json.every((x) => typeof x === 'string'))
    throw new PareError('E_FORMAT', `${what} is no list of names`)
  return json.map(String)
}

function graph(json: JsonObject, vertices: JsonObject): Network {
  const inputs = texts(field(json, 'networkInputs'), 'networkInputs')
  const outputs = texts(field(json, 'networkOutputs'), 'networkOutputs')
  const names = Object.keys(vertices).map(keyOf)
  if (names.length > maxSteps) throw tooMany(names.length)
  if (inputs.length === 0 || outputs.length === 0) throw new PareError('E_FORMAT', 'a graph without inputs or outputs')
  const all = new Set([...inputs, ...names])
  if (all.size !== inputs.length + names.length) throw new PareError('E_FORMAT', 'two vertices or inputs of one name')
  const given = field(json, 'vertexInputs')
  const inputsOf = (name: string): readonly string[] => {
    const of = texts(isObject(given) ? field(given, name) : undefined, `the list of inputs of ${name}`)
    const missing = of.find((i) => !all.has(i))
    if (missing !== undefined)
      throw new PareError('E_FORMAT', `it reads ${missing}, which is not there`, { where: name })
    return of
  }
  for (const name of outputs) if (!all.has(name)) throw new PareError('E_FORMAT', `the output ${name} is not there`)
  const order = orderOf(json, inputs, names, inputsOf)
  const steps = order
    .filter((name) => !inputs.includes(name))
    .flatMap((name) => vertexSteps(name, field(vertices, name), inputsOf(name)))
  return { kind: 'ComputationGraph', inputs, outputs, steps }
}

/** The stored order where there is one, else DL4J's own. Throws `E_FORMAT` where inputs do not come first. */
function orderOf(
  json: JsonObject,
  inputs: readonly string[],
  names: readonly string[],
  inputsOf: (name: string) => readonly string[]
): readonly string[] {
  const stored = field(json, 'topologicalOrderStr')
  const order = Array.isArray(stored) ? stored.map(String) : topologicalOrder(inputs, names, inputsOf)
  const seen = new Set<string>(inputs)
  for (const name of order) {
    if (inputs.includes(name)) continue
    if (seen.has(name) || !names.includes(name))
      throw new PareError('E_FORMAT', `${name} is not once in the order of vertices`)
    const early = inputsOf(name).find((i) => !seen.has(i))
    if (early !== undefined)
      throw new PareError('E_FORMAT', `it stands before ${early}, which it reads`, { where: name })
    seen.add(name)
  }
  if (seen.size !== inputs.length + names.length)
    throw new PareError('E_FORMAT', 'the graph has a circle, or vertices that its order leaves out')
  return order
}

function vertexSteps(
  name: string,
  json: Json | undefined,
  inputs: readonly string[],
  at: Path = ['vertices', name]
): readonly Step[] {
  const conf = confOf(json, name, 'vertex')
  const isOld = isObject(json) && field(json, '@class') === undefined
  const path: Path = [...at, ...(isOld ? [Object.keys(json)[0] as string] : [])]
  const preprocessor = (of: Json | undefined, step: string, reads: readonly string[]): Step => ({
    name: step,
    what: 'preprocessor',
    conf: confOf(of, name, 'preprocessor'),
    inputs: reads,
    path: [...path, 'preProcessor']
  })
  switch (conf.kind) {
    case 'FrozenVertex':
      return vertexSteps(name, field(conf.fields, 'underlying'), inputs, [...path, 'underlying'])
    case 'PreprocessorVertex':
      return [preprocessor(field(conf.fields, 'preProcessor'), name, inputs)]
    case 'LayerVertex':
      break
    default:
      return [{ name, what: 'vertex', conf, inputs, path: at }]
  }
  const pre = field(conf.fields, 'preProcessor')
  const [input, ...others] = inputs
  if (input === undefined || others.length > 0)
    throw new PareError('E_FORMAT', `a layer with ${inputs.length} inputs`, { where: name })
  const before = `${name}-preprocessor`
  const layer: Step = {
    name,
    what: 'layer',
    conf: layerConf(field(conf.fields, 'layerConf'), name),
    inputs: [pre == null ? input : before],
    path: [...path, 'layerConf', 'layer']
  }
  return pre == null ? [layer] : [preprocessor(pre, before, [input]), layer]
}
