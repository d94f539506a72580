/**
 * What the inputs of a network look like. An archive does not say it: kind and channels follow from the layers behind an input,
 * the size of images from the sizes that CnnToFeedForward preprocessors and the like were configured for.
 */
import type { Dim } from '../../types.ts'
import type { Conf } from './conf.ts'
import { layerOf } from './layers/index.ts'
import type { Layer, Layers } from './layers/types.ts'
import type { Network, Step } from './network.ts'
import { preprocessorOf } from './preprocessors.ts'
import { vertexOf } from './vertices.ts'

export interface InputFacts {
  readonly axes: string
  readonly sizes: Readonly<Record<string, Dim>>
}

/** Sizes that the user says, by axis. */
export type Sizes = Readonly<Record<string, number>>

const longest = 4096
/** Sizes that images often have: where several fit, the first of these; where none of these fits, the size stays open. */
const usual = [28, 32, 224, 64, 96, 128, 160, 192, 227, 256, 299, 320, 384, 416, 448, 512, 608]

const names: Readonly<Record<string, string>> = { H: 'height', W: 'width', D: 'depth', T: 'time' }

/** Facts of every input, and notes on what was chosen. `given`: sizes that count instead. */
export function inputFacts(
  network: Network,
  layers: Layers,
  given: Sizes = {}
): { readonly inputs: ReadonlyMap<string, InputFacts>; readonly notes: readonly string[] } {
  const ranges: string[] = []
  const kinds = new Map(network.inputs.map((name) => [name, kindOf(network, layers, name)]))
  const chosen = new Map<string, Dim>()
  for (const axis of ['H', 'W', 'D']) {
    if (![...kinds.values()].some((k) => k.axes.includes(axis))) continue
    if (given[axis] !== undefined) chosen.set(axis, given[axis])
    else {
      const fitting = sizesThatFit(network, layers, kinds, axis)
      const size = fitting.length === 1 ? fitting[0] : usual.find((n) => fitting.includes(n))
      if (size !== undefined) chosen.set(axis, size)
      if (fitting.length > 1) ranges.push(`${names[axis]} ${fitting[0]} to ${fitting.at(-1)}`)
    }
  }
  const taken = Array.from('DHW').flatMap((axis) => chosen.get(axis) ?? (axis === 'D' ? [] : ['?']))
  const notes =
    ranges.length === 0
      ? []
      : [
          `the archive does not hold the size of its images: ${ranges.join(' and ')} fit its layers; ${taken.includes('?') ? 'it is left open' : `${taken.join('x')} was taken`} (--image-size says one)`
        ]
  const several = network.inputs.length > 1
  const inputs = new Map(
    [...kinds].map(([name, { axes, width }]) => {
      const sizes: Record<string, Dim> = { N: 'N' }
      for (const a of axes.slice(1)) {
        if (a === 'C') sizes.C = width ?? 'features'
        else sizes[a] = chosen.get(a) ?? (several ? `${name}_${names[a]}`.replace(/\W/g, '_') : (names[a] as string))
      }
      return [name, { axes, sizes }] as const
    })
  )
  return { inputs, notes }
}

/** Axes and channels, each of the first step behind the input that says it; features where none does. */
function kindOf(
  network: Network,
  layers: Layers,
  name: string
): { readonly axes: string; readonly width: number | undefined } {
  let axes: string | undefined
  let width: number | undefined
  /** Steps that have the input's axes, and how many channels they have for one of its, where that can be told. */
  const alike = new Map<string, number | undefined>([[name, 1]])
  for (const step of network.steps) {
    const before = step.inputs.filter((i) => alike.has(i))
    if (before.length === 0) continue
    const times = before.map((i) => alike.get(i)).find((n) => n !== undefined)
    const asked = asks(step, layers)
    axes ??= asked.axes
    if (asked.width !== undefined && times !== undefined) width ??= asked.width / times
    if (axes !== undefined && width !== undefined) break
    if (asked.keepsAxes) alike.set(step.name, times && asked.channels && times * asked.channels)
  }
  return { axes: axes ?? 'NC', width }
}

interface Asked {
  readonly axes?: string | undefined
  readonly width?: number | undefined
  readonly keepsAxes: boolean
  /** Channels behind it for one before it; absent: that cannot be told. */
  readonly channels?: number
}

function asks(step: Step, layers: Layers): Asked {
  const c = step.conf
  if (step.what === 'vertex') {
    const vertex = vertexOf(c)
    const keepsAxes = vertex.alike === true || vertex.size !== undefined
    return { axes: vertex.takes, keepsAxes, ...(vertex.alike ? { channels: 1 } : {}) }
  }
  if (step.what === 'preprocessor') {
    const preprocessor = preprocessorOf(c)
    return { axes: preprocessor.takes(c), width: preprocessor.width(c), keepsAxes: false }
  }
  const layer = layerOf(layers, c)
  const width = layer.width?.(c)
  const keepsAxes = layer.size?.(c, 1, 'H') !== null
  return {
    axes: layer.takes?.(c),
    width,
    keepsAxes,
    ...(width === undefined ? { channels: layer.channels?.(c) ?? 1 } : {})
  }
}

/** Every size of the images' axis with which all layers get what they are configured for; none where nothing asks. */
function sizesThatFit(
  network: Network,
  layers: Layers,
  kinds: ReadonlyMap<string, { readonly axes: string }>,
  axis: string
): readonly number[] {
  let isAsked = false
  const fits = (n: number): boolean => {
    const sizes = new Map<string, number | undefined>()
    for (const [name, { axes }] of kinds) if (axes.includes(axis)) sizes.set(name, n)
    for (const step of network.steps) {
      const known = step.inputs.map((i) => sizes.get(i)).filter((s): s is number => s !== undefined)
      const [size] = known
      if (size === undefined) continue
      const c = step.conf
      if (step.what === 'preprocessor') {
        const asked = preprocessorOf(c).asks?.(c, axis)
        if (asked !== undefined) {
          isAsked = true
          if (asked !== size) return false
        }
        continue
      }
      const out = step.what === 'layer' ? placesBehind(layerOf(layers, c), c, size, axis) : vertexOf(c).size?.(size)
      if (out === undefined && step.what === 'layer') return false
      if (step.what === 'vertex' && out !== undefined && known.some((k) => k !== size)) return false
      if (typeof out === 'number') sizes.set(step.name, out)
    }
    return true
  }
  const fitting: number[] = []
  for (let n = 1; n <= longest; n++) {
    if (fits(n)) fitting.push(n)
    if (!isAsked && n > 64) return []
  }
  return isAsked ? fitting : []
}

/** `undefined` where the layer does not fit, `null` where its result has no such axis. */
function placesBehind(layer: Layer, c: Conf, n: number, axis: string): number | null | undefined {
  const takes = layer.takes?.(c)
  if (takes !== undefined && !takes.includes(axis)) return null
  return layer.size ? layer.size(c, n, axis) : n
}
