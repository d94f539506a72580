/**
 * The law of channels: for every operator with a rule, a model without some channels computes what the model computes
 * when the weights that read them are zero.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { readModel } from '../src/formats/index.ts'
import { check } from '../src/ir/check.ts'
import { edit } from '../src/ir/edit.ts'
import { opName, recordName } from '../src/ir/graph.ts'
import { elementCount, tensor, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { ops } from '../src/ops/index.ts'
import { parseOptions } from '../src/passes/pass.ts'
import { type ChannelGroup, channelGroups, type Slice } from '../src/passes/prune/groups.ts'
import { keptIn, withoutChannels } from '../src/passes/prune/remove.ts'
import { simplify } from '../src/passes/simplify/index.ts'
import { parameterCount } from '../src/passes/train/learn.ts'
import type { Model, Tensor } from '../src/types.ts'
import { type ChannelCase, channelCases } from './channels.cases.ts'
import { difference, outputsOf, randomFeeds, testContext } from './compare.ts'
import { network } from './digits.ts'
import { sharedData } from './shared.ts'
import { bertFeeds, gptFeeds, smallBert, smallGpt } from './transformer-models.ts'

/** Sums lose terms of zero, and so their order. */
const tolerance = 2e-5

type Kept = ReadonlyMap<ChannelGroup, readonly number[]>

const textOf = (c: ChannelCase): Model => parse(c.model.replaceAll('; ', '\n'))
const freeGroups = (model: Model): ChannelGroup[] =>
  channelGroups(model).groups.filter((g) => g.blockers.length === 0 && g.channels > 1)

/** A copy of a tensor in which the elements at some indices along an axis are made anew from themselves. */
function changed(t: Tensor, axis: number, f: (index: number, at: (index: number) => number) => number): Tensor {
  const values = Array.from(toNumbers(t))
  const [size, run] = [t.shape[axis] as number, elementCount(t.shape.slice(axis + 1))]
  const made = values.map((_, k) => {
    const i = Math.floor(k / run) % size
    return f(i, (index) => values[k + (index - i) * run] as number)
  })
  return tensor(t.dtype, t.shape, made)
}

function withConstants(model: Model, slices: readonly Slice[], f: (t: Tensor, s: Slice) => Tensor): Model {
  return edit(model, (d) => {
    for (const s of slices) {
      const v = d.value(s.value)
      if (v?.data) d.set({ ...v, data: f(v.data, s) })
    }
  })
}

/** Zeros in what reads the channels that go. */
function silenced(model: Model, kept: Kept): Model {
  let made = model
  for (const [group, left] of kept) {
    const readers = group.slices.filter((s) => s.isSummed)
    expect(readers.length).toBeGreaterThan(0)
    made = withConstants(made, readers, (t, s) => {
      const out = new Set(s.indices.flatMap((own, c) => (left.includes(c) ? [] : own)))
      return changed(t, s.axis, (i, at) => (out.has(i) ? 0 : at(i)))
    })
  }
  return made
}

/** The second half of the channels equal to the first, in all that makes them. */
function twinned(model: Model, group: ChannelGroup): Model {
  const makers = group.slices.filter((s) => s.isConstant && !s.isSummed)
  return withConstants(model, makers, (t, s) => changed(t, s.axis, (i, at) => at(i % (group.channels / 2))))
}

async function apart(model: Model, kept: Kept, given?: Readonly<Record<string, Tensor>>): Promise<number> {
  const found = channelGroups(model)
  const own = new Map([...kept].map(([g, left]) => [found.groups.find((o) => o.name === g.name) ?? g, left]))
  const narrow = withoutChannels(found, own)
  expect(narrow).not.toBe(model)
  check(narrow)
  const feeds = given ?? randomFeeds(model, 7)
  return difference(await outputsOf(silenced(model, own), feeds), await outputsOf(narrow, feeds))
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Lists of channels to keep of one group: all but each, and half of them. */
function choices(group: ChannelGroup): number[][] {
  const all = range(group.channels)
  const half = rng(group.name)
    .permutation(group.channels)
    .slice(0, Math.ceil(group.channels / 2))
  return [...all.map((c) => all.filter((i) => i !== c)), Array.from(half).sort((a, b) => a - b)]
}

describe('removing channels is zeroing the weights that read them', () => {
  it.each(Object.entries(channelCases))('%s', async (_, c) => {
    const model = textOf(c)
    const groups = freeGroups(model)
    expect(groups.map((g) => g.channels).sort()).toEqual([...c.free].sort())
    if (c.twins) {
      const [group] = groups as [ChannelGroup]
      const half = range(group.channels / 2)
      expect(await apart(twinned(model, group), new Map([[group, half]]))).toBeLessThan(tolerance)
      return
    }
    for (const group of groups)
      for (const left of choices(group)) expect(await apart(model, new Map([[group, left]]))).toBeLessThan(tolerance)
    const together = new Map(groups.map((g) => [g, choices(g).at(-1) as number[]]))
    expect(await apart(model, together)).toBeLessThan(tolerance)
  })
})

it('covers every operator that has a rule for channels', () => {
  const seen = new Set(Object.values(channelCases).flatMap((c) => textOf(c).graph.nodes.map(opName)))
  expect(
    ops
      .filter((op) => op.channels)
      .map(recordName)
      .filter((name) => !seen.has(name))
  ).toEqual([])
  expect(ops.filter((op) => op.channels).length).toBeGreaterThanOrEqual(90)
})

describe('in whole models', () => {
  const demo = new URL('../examples/demo/digits.onnx', import.meta.url)
  const shared = (...parts: string[]): string | undefined => sharedData(...parts)
  const files = [
    ['the digits of the demo', demo, 3],
    ['resnet20', shared('cifar10-jpeg', 'resnet20.onnx'), 12],
    ['resnet56', shared('cifar10-jpeg', 'resnet56.onnx'), 30],
    ['mobilenet', shared('imagenet', 'mobilenet_v1_025_224.onnx'), 14],
    ['ds_cnn', shared('kws', 'ds_cnn.onnx'), 5],
    ['mnist-8', shared('mnist', 'mnist-8.onnx'), 2]
  ] as const

  /** All groups at once, each with a random half of its channels. */
  async function halved(model: Model): Promise<{ groups: readonly ChannelGroup[]; apart: number }> {
    const groups = freeGroups(model)
    return { groups, apart: await apart(model, new Map(groups.map((g) => [g, choices(g).at(-1) as number[]]))) }
  }

  it('a network with residual blocks', async () => {
    const { groups, apart } = await halved(network('channels'))
    expect(groups.map((g) => g.channels)).toEqual([8, 8])
    expect(apart).toBeLessThan(tolerance)
  })

  it.each([
    ['BERT', smallBert(), bertFeeds(), [4, 64, 4, 64]],
    ['BERT with a mask by Where', smallBert({ layers: 1, by: 'where' }), bertFeeds(), [4, 64]],
    // Keys and values are outputs of the model.
    ['GPT-2', smallGpt(), gptFeeds(), [64, 64]]
  ] as const)('a quarter of the heads and units of %s', async (_, given, feeds, channels) => {
    const model = await simplify.run(given, parseOptions(simplify, {}), testContext())
    const groups = freeGroups(model)
    expect(groups.map((g) => g.channels)).toEqual(channels)
    const kept = new Map(groups.map((g) => [g, range(g.channels).filter((c) => c % 4 !== 1)]))
    expect(await apart(model, kept, feeds)).toBeLessThan(tolerance)
    const narrow = withoutChannels(channelGroups(model), keptIn(channelGroups(model), kept))
    const layers = channels.length / 2
    const shrunk = [...narrow.graph.values.values()].filter((v) => v.data?.shape.includes(48)).length
    expect(shrunk).toBeGreaterThanOrEqual(3 * layers)
    expect(parameterCount(narrow)).toBeLessThan(parameterCount(model))
  })

  for (const [name, path, count] of files)
    it.skipIf(path === undefined)(`${name}${path ? '' : ' (needs the shared data folder)'}`, async () => {
      const model = await simplify.run(
        readModel(readFileSync(path as string)),
        parseOptions(simplify, {}),
        testContext()
      )
      const { groups, apart } = await halved(model)
      expect(groups.length).toBe(count)
      expect(apart).toBeLessThan(tolerance)
    })
})

describe('what has to stay', () => {
  const blockers = (text: string): string[] =>
    channelGroups(parse(text.replaceAll('; ', '\n'))).groups.flatMap((g) =>
      g.blockers.map((b) => `${g.name}: ${b.node?.name ?? b.value} ${b.reason}`)
    )

  it('inputs and outputs of the model', () => {
    const found = blockers('input x: f32[2,3]; y = MatMul(x, W: f32[3,4]); output y')
    expect(found).toEqual(['x: x is an input of the model', 'y: y is an output of the model'])
  })

  it('what is read by an operator without a rule, or by a graph inside', () => {
    const det = 'r = Det(b)'
    expect(blockers(`input x: f32[5,4,3]; a = MatMul(x, W: f32[3,4]); b = Relu(a); ${det}; output r`)).toContain(
      'a: Det_2 Det has no rule for channels'
    )
    const inside = 'r = If(c, then_branch={ p = Relu(a); output p }, else_branch={ output a })'
    expect(
      blockers(
        `input c: bool[]; input x: f32[2,3]; a = MatMul(x, W: f32[3,4]); ${inside}; y = MatMul(r, V: f32[4,2]); output y`
      )
    ).toContain('a: If_1 If has no rule for channels')
  })

  it('what is mixed along the channels', () => {
    const model = 'input x: f32[2,3]; a = MatMul(x, W: f32[3,4]); s = Softmax(a); y = MatMul(s, V: f32[4,2]); output y'
    expect(blockers(model)).toContain('a: Softmax_1 Softmax cannot do with less of axis 1')
  })

  it('what is cut in the middle, or squeezed without saying where', () => {
    const cut = 'b = Slice(a, f: i64[1]{1}, t: i64[1]{3}, ax: i64[1]{1})'
    expect(
      blockers(`input x: f32[2,3]; a = MatMul(x, W: f32[3,4]); ${cut}; y = MatMul(b, V: f32[2,2]); output y`)
    ).toContain('a: Slice_1 Slice cannot do with less of axis 1')
    const squeezed =
      'input x: f32[2,1,3]; a = MatMul(x, W: f32[3,4]); b = Squeeze(a); y = MatMul(b, V: f32[4,2]); output y'
    expect(blockers(squeezed)).toContain('a: Squeeze_1 Squeeze cannot do with less of axis 2')
  })
})

it('nothing goes where all channels are kept', () => {
  const model = network('all')
  const found = channelGroups(model)
  const all = new Map(found.groups.filter((g) => g.blockers.length === 0).map((g) => [g, range(g.channels)]))
  expect(withoutChannels(found, all)).toBe(model)
})
