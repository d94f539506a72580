/** What operators tell of the nodes of a graph, finished or under change. */
import { factsOf, type GraphView } from '../ir/graph.ts'
import type { Node } from '../types.ts'
import { opFor } from './index.ts'
import type { Linear, Precision, QuantRule } from './types.ts'

/** A node as a linear layer; `undefined` where it is none. */
export const linearOf = (g: GraphView, node: Node): Linear | undefined => opFor(node)?.linear?.(factsOf(g, node))

/** Bounds of the output where a node only clamps; `undefined` where it does more, or where the bounds are computed. */
export const clampOf = (g: GraphView, node: Node): ReturnType<NonNullable<QuantRule['clamp']>> =>
  opFor(node)?.quant?.clamp?.(factsOf(g, node))

/** Does a node only clamp, whatever its bounds? */
export const isClamp = (node: Node): boolean => opFor(node)?.quant?.clamp !== undefined

/** Does a positive factor of one input alone, by default the first, come out again? */
export const passesFactor = (node: Node, input = 0): boolean =>
  opFor(node)?.homogeneous?.some((set) => set.length === 1 && set[0] === input) ?? false

/** Does a node add two values? */
export const isAdd = (node: Node): boolean => node.op === 'Add' && node.domain === undefined

/** Does a factor of this input come out as its inverse? */
export const divides = (node: Node, input: number): boolean => opFor(node)?.divides?.includes(input) ?? false

/** Sets of inputs that the output is a multiple of, those of constants alone first. */
export function factorSets(g: GraphView, node: Node): readonly (readonly number[])[] {
  const sets = opFor(node)?.homogeneous ?? []
  const isFixed = (set: readonly number[]): boolean =>
    set.every((i) => node.inputs[i] == null || g.constant(node.inputs[i]))
  return [...sets.filter(isFixed), ...sets.filter((set) => !isFixed(set))]
}

/** Whether a node keeps float32, or has a float16 form outside the default domain; `undefined`: as its domain's operators do. */
export function precisionOf(node: Node): Precision | undefined {
  const told = opFor(node)?.precision
  return typeof told === 'function' ? told(node) : told
}
