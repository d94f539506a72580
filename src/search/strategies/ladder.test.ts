import { describe, expect, it } from 'vitest'
import { network } from '../../../test/digits.ts'
import { rng } from '../../base/random.ts'
import { model } from '../../ir/text.ts'
import { targetFor } from '../../targets/index.ts'
import type { Problem } from '../strategy.ts'
import type { Measured, Proposal, Trial } from '../trial.ts'
import { ladder } from './ladder.ts'

const problem: Problem = {
  model: model`
input x: f32[1,2]
y = Relu(x)
output y`,
  target: targetFor('ort-cpu'),
  objective: 'balanced',
  metric: 'top1',
  maxDrop: 0.01,
  isCalibrated: true,
  bytes: 1000
}

interface Figures {
  readonly bytes?: number
  readonly drop?: number
  readonly latency?: number
}

const measured = (proposal: Proposal, { bytes = 500, drop = 0, latency = 1 }: Figures): Measured => ({
  ...{ key: proposal.name, proposal, recipe: proposal.recipe, bytes, macs: 10, metrics: {}, error: 0 },
  drop: { top1: { value: drop, low: drop, high: drop, n: 100 } },
  timing: {
    before: { p50: 1, p90: 1, p99: 1, n: 50 },
    after: { p50: latency, p90: latency, p99: latency, n: 50 },
    ratio: { median: latency, low: latency, high: latency }
  },
  ...{ steps: [], refusals: [], notes: [] }
})

/** All that is proposed where candidates come to these figures, or fail. */
function proposed(figures: Readonly<Record<string, Figures | 'fails'>>, o: Partial<Problem> = {}): Trial[] {
  const strategy = ladder.make({ ...problem, ...o })
  const history: Trial[] = []
  for (;;) {
    const next = strategy.next(history, [], rng(0))
    if (next === 'done') return history
    const known = figures[next.name] ?? {}
    history.push(
      known === 'fails'
        ? { key: next.name, proposal: next, failed: 'does not run: as the test says' }
        : measured(next, known)
    )
  }
}

const names = (trials: readonly Trial[]): string[] => trials.map((t) => t.proposal.name)
const whole = ['float, simplified', 'int8 weights', '16-bit weights', 'int8']

describe('the ladder', () => {
  it('tries every variant, and no mixture where none is needed', () => {
    expect(names(proposed({ int8: { latency: 0.5 } }))).toEqual(whole)
  })

  it('proposes no 16-bit weights to a target that takes none', () => {
    const target = { ...problem.target, elements: ['float32', 'int8', 'uint8'] as const }
    expect(names(proposed({ int8: { latency: 0.5 } }, { target }))).toEqual(whole.filter((n) => n !== '16-bit weights'))
  })

  it('mends what is slow or loses too much, where the mixture could win', () => {
    const slow = proposed({ int8: { latency: 0.9 } })
    expect(names(slow).at(-1)).toBe('int8 but for layers that it slows or harms')
    expect(slow.at(-1)?.proposal.recipe.map(([pass]) => pass)).toEqual(['simplify', 'fuse', 'mix-precision'])
    const lossy = proposed({ 'int8 weights': { bytes: 250, drop: 0.02 }, int8: { latency: 0.5, bytes: 900 } })
    expect(names(lossy).at(-1)).toBe('int8 weights but for some of 16 bits')
    const hopeless = proposed({ 'int8 weights': { bytes: 990, drop: 0.02 }, int8: { latency: 0.5, bytes: 250 } })
    expect(names(hopeless)).toEqual(whole)
  })

  it('looks for the fewest bits where size counts, and without samples makes what needs none', () => {
    expect(names(proposed({ int8: { latency: 0.5 } }, { objective: 'size' }))).toEqual([
      ...whole,
      'weights of mixed bits'
    ])
    expect(names(proposed({}, { isCalibrated: false, objective: 'size' }))).toEqual(whole.slice(0, 3))
  })

  it('tries integer kernels over fewer bits where int8 keeps the bound and the weights are large', () => {
    const m = model`
input x: f32[1,16,8,8]
c = Conv(x, W: f32[64,16,3,3])
output c`
    const few = ['int8, weights of 4 bits', 'int8, weights of mixed bits']
    const int8 = { latency: 0.5 }
    const lossy = { drop: 0.02 }
    expect(names(proposed({ int8 }, { model: m }))).toEqual([...whole, few[0]])
    const trials = proposed({ int8, 'int8, weights of 4 bits': lossy }, { model: m })
    expect(names(trials)).toEqual([...whole, ...few])
    expect(trials.slice(-2).map((t) => t.proposal.recipe.slice(2))).toEqual([
      [
        ['quantize-static', { bits: 4 }],
        ['round', {}],
        ['quantize-weights', { form: 'foldable' }]
      ],
      [
        ['mix-precision', { objective: 'codes', maxDrop: 0.01 }],
        ['quantize-weights', { form: 'foldable' }]
      ]
    ])
    expect(names(proposed({ int8: { ...int8, ...lossy } }, { model: m }))).not.toContain(few[0])
    expect(names(proposed({ int8: { latency: 0.5, bytes: 90_000 } }, { model: m }))).toEqual(whole)
  })

  it('proposes dynamic int8 and blocks where products hold the weights, with data or without', () => {
    const m = model`
input x: f32[1,6,64]
p = MatMul(x, W: f32[64,64])
y = Relu(p)
output y`
    const floats = ['int8 weights', '16-bit weights']
    const blocks = ['8-bit blocks', '4-bit blocks']
    const dear = { latency: 0.9, bytes: 12_000 }
    const bytes = 17_000
    const trials = proposed({ 'dynamic int8': dear }, { model: m, isCalibrated: false, bytes })
    expect(names(trials)).toEqual(['float, simplified', 'dynamic int8', ...floats, ...blocks])
    const dynamic = trials.find((t) => t.proposal.name === 'dynamic int8')
    expect(dynamic?.proposal.recipe[2]).toEqual(['quantize-dynamic', { include: ['MatMul'] }])
    expect(names(proposed({ 'dynamic int8': dear }, { model: m, bytes }))).toContain('int8')
    // What computes in float is no faster than float, and its bytes are known beforehand.
    const good = proposed({ 'dynamic int8': { latency: 0.4, bytes: 4500 } }, { model: m, isCalibrated: false, bytes })
    expect(names(good)).toEqual(['float, simplified', 'dynamic int8'])
    const least = { model: m, isCalibrated: false, bytes, objective: 'size' as const }
    const small = proposed({ 'dynamic int8': { latency: 0.4, bytes: 4800 } }, least)
    expect(names(small)).toEqual(['float, simplified', 'dynamic int8', 'int8 weights', '4-bit blocks'])
  })

  it('smooths dynamic int8 where it loses much of what is allowed, and mixes where that does not help', () => {
    const m = model`
input x: f32[1,6,64]
p = MatMul(x, W: f32[64,64])
y = Relu(p)
output y`
    const bytes = 17_000
    const at = (drop: number): Figures => ({ latency: 0.4, bytes: 4500, drop })
    const [plain, smooth, mixed] = [
      'dynamic int8',
      'dynamic int8, smoothed',
      'int8 but for layers that it slows or harms'
    ]
    const int8 = { latency: 0.5, bytes: 4500 }
    expect(names(proposed({ [plain]: at(0.001), int8 }, { model: m, bytes }))).not.toContain(smooth)
    const lossy = proposed(
      { [plain]: at(0.02), [smooth]: at(0.005), int8: { ...int8, drop: 0.005 } },
      { model: m, bytes }
    )
    expect(names(lossy)).toContain(smooth)
    expect(names(lossy)).not.toContain(mixed)
    const hard = proposed({ [plain]: at(0.02), [smooth]: at(0.02), int8: { ...int8, drop: 0.02 } }, { model: m, bytes })
    expect(names(hard).at(-1)).toBe(mixed)
    expect(hard.at(-1)?.proposal.recipe.map(([pass]) => pass)).toEqual(['simplify', 'fuse', 'smooth', 'mix-precision'])
  })

  it('splits large products by low rank in the form that did best, more where that keeps the bound', () => {
    const m = model`
input x: f32[N,256]
p = MatMul(x, W: f32[256,256])
r = Relu(p)
y = MatMul(r, V: f32[256,10])
output y`
    const fast = { latency: 0.4, bytes: 80_000 }
    const o = { model: m, bytes: 275_000 }
    const few = ['int8, weights of 4 bits', 'int8, weights of mixed bits'].map(
      (name) => [name, { drop: 0.02 }] as const
    )
    const int8 = { latency: 0.5, bytes: 80_000 }
    const trials = proposed({ ...Object.fromEntries(few), 'dynamic int8': fast, int8 }, o)
    expect(names(trials).slice(-2)).toEqual([
      '50 % fewer weights by low rank, dynamic int8',
      '70 % fewer weights by low rank, dynamic int8'
    ])
    expect(trials.at(-1)?.proposal.recipe.slice(2)).toEqual([
      ['factorize', { ratio: 0.3 }],
      ['quantize-dynamic', { include: ['MatMul'] }],
      ['quantize-weights', { form: 'foldable' }]
    ])
    const lossy = proposed(
      { ...Object.fromEntries(few), int8, 'dynamic int8': fast, [names(trials).at(-2) as string]: { drop: 0.02 } },
      o
    )
    expect(names(lossy).at(-1)).toBe('30 % fewer weights by low rank, dynamic int8')
    expect(names(proposed({ 'dynamic int8': fast }, { ...o, isCalibrated: false })).join()).not.toContain('low rank')
  })

  it('writes single operators for several last of all, where there are such', () => {
    const m = model`
input x: f32[1,6,64]
const eps: f32[] = 1e-5
s = Mul(x, x)
v = ReduceMean(s, last: i64[1]{-1})
w = Add(v, eps)
r = Sqrt(w)
n = Div(x, r)
g = Mul(n, G: f32[64])
y = MatMul(g, W: f32[64,64])
output y`
    const passes = (trials: readonly Trial[]): string[] =>
      trials.map((t) => t.proposal.recipe.map(([pass]) => pass).join())
    const made = passes(proposed({}, { model: m }))
    expect(made[0]).toBe('simplify,fuse,fuse-transformer')
    expect(made).toContain('simplify,fuse,quantize-dynamic,quantize-weights,fuse-transformer')
    const slower = passes(proposed({ 'float, simplified': { latency: 1.1 } }, { model: m }))
    expect(slower).toContain('simplify,quantize-dynamic,quantize-weights')
    const { fused: _, ...other } = targetFor('ort-cpu')
    expect(passes(proposed({}, { model: m, target: other }))[0]).toBe('simplify,fuse')
  })

  it('takes recurrent layers into dynamic int8, and does not try it on convolutions with a last product', () => {
    const tagger = model`
input x: f32[7,1,16]
h = LSTM(x, W: f32[1,128,16], R: f32[1,128,32], hidden_size=32)
output h`
    const made = proposed({}, { model: tagger }).find((t) => t.proposal.name === 'dynamic int8')
    expect(made?.proposal.recipe[2]).toEqual(['quantize-dynamic', { include: ['LSTM'], microsoft: true }])
    const classifier = model`
input x: f32[1,3,8,8]
c = Conv(x, W: f32[64,3,3,3], pads=[1,1,1,1])
p = GlobalAveragePool(c)
f = Flatten(p)
y = MatMul(f, M: f32[64,10])
output y`
    expect(names(proposed({ int8: { latency: 0.5, bytes: 5000 } }, { model: classifier }))).toEqual(whole)
  })

  it('makes variants from what is not slower than the original', () => {
    const unfused = proposed({ 'float, simplified': { latency: 1.1 }, int8: { latency: 0.5 } })
    expect(names(unfused)).toEqual(['float, simplified', 'float, simplified but not fused', ...whole.slice(1)])
    expect(unfused[2]?.proposal.recipe.map(([pass]) => pass)).toEqual(['simplify', 'quantize-weights'])
    const slow = { latency: 1.1 }
    const plain = proposed({
      'float, simplified': slow,
      'float, simplified but not fused': slow,
      int8: { latency: 0.5 }
    })
    expect(plain[2]?.proposal).toEqual({ name: 'float, as it is', recipe: [] })
    expect(plain[3]?.proposal.recipe.map(([pass]) => pass)).toEqual(['quantize-weights'])
  })

  it('goes on where a candidate fails, from the model as it is where the simplified one does', () => {
    expect(names(proposed({ 'int8 weights': 'fails', int8: { latency: 0.5 } }))).toEqual(whole)
    const all = proposed({ 'float, simplified': 'fails', int8: { latency: 0.5 } })
    expect(names(all)).toEqual(whole)
    expect(all[1]?.proposal.recipe.map(([pass]) => pass)).toEqual(['quantize-weights'])
  })

  describe('with training data', () => {
    const residual = network('ladder')
    const target = { ...targetFor('ort-cpu'), channelMultiple: 4 }
    const o = { model: residual, target, isTrained: true, maxDrop: 0.01 }
    const fast = { latency: 0.5, bytes: 250 }
    const few = ['int8, weights of 4 bits', 'int8, weights of mixed bits'].map(
      (name) => [name, { drop: 0.05 }] as const
    )
    const withoutTraining = Object.fromEntries([['int8', fast], ...few])
    const trained = (trials: readonly Trial[]): readonly Trial[] =>
      trials.filter((t) => t.proposal.recipe.some(([pass]) => pass === 'finetune'))

    it('fine-tunes, takes blocks and channels out, more where that kept the bound and less where not', () => {
      const made = trained(
        proposed({ ...withoutTraining, '50 % less work by channels, taught again, int8': { drop: 0.03 } }, o)
      )
      expect(names(made)).toEqual([
        'fine-tuned, int8',
        '50 % less work by blocks, taught again, int8',
        '70 % less work by blocks, taught again, int8',
        '50 % less work by channels, taught again, int8',
        '30 % less work by channels, taught again, int8'
      ])
      expect(made[1]?.proposal.recipe).toEqual([
        ['simplify', {}],
        ['fuse', {}],
        ['finetune', { epochs: 3, teacher: 'itself', prune: { what: 'blocks', to: 0.5, schedule: 'once' } }],
        ['quantize-static', {}],
        ['quantize-weights', { form: 'foldable' }]
      ])
    })

    it('splits layers by low rank and fine-tunes them', () => {
      const plain = model`
input x: f32[N,16,8,8]
c = Conv(x, W: f32[64,16,3,3])
r = Relu(c)
g = GlobalAveragePool(r)
f = Flatten(g)
y = MatMul(f, M: f32[64,3])
output y`
      const made = trained(proposed(withoutTraining, { ...o, model: plain }))
      const [half] = made.filter((t) => t.proposal.name.includes('low rank'))
      expect(half?.proposal.name).toBe('50 % less work by low rank, taught again, int8')
      expect(half?.proposal.recipe.slice(2, 4)).toEqual([
        ['factorize', { macs: 0.5 }],
        ['finetune', { epochs: 3 }]
      ])
    })

    it('goes on behind one that fails, and trains nothing that has no classes or no structure to lose', () => {
      const failing = proposed({ ...withoutTraining, '50 % less work by blocks, taught again, int8': 'fails' }, o)
      expect(names(failing).at(-2)).toBe('50 % less work by channels, taught again, int8')
      expect(trained(proposed(withoutTraining, { ...o, isTrained: false }))).toEqual([])
      const plain = model`
input x: f32[N,4]
y = MatMul(x, W: f32[4,3])
output y`
      expect(names(trained(proposed({}, { ...o, model: plain })))).toEqual(['fine-tuned, dynamic int8'])
    })
  })

  it('proposes the same again from every part of its history', () => {
    const strategy = ladder.make({ ...problem, objective: 'size' })
    const history = proposed({ 'int8 weights': { drop: 0.02, bytes: 100 } }, { objective: 'size' })
    expect(history.length).toBe(6)
    for (const [i, t] of history.entries()) expect(strategy.next(history.slice(0, i), [], rng(i))).toEqual(t.proposal)
    expect(strategy.next(history, [], rng(0))).toBe('done')
  })

  it('waits for what is pending before it decides by it', () => {
    const strategy = ladder.make(problem)
    const [first, second, third, fourth] = proposed({ int8: { latency: 0.9 } }) as [Trial, Trial, Trial, Trial]
    expect(strategy.next([], [first.proposal], rng(0))).toBe('done')
    expect(strategy.next([first], [second.proposal], rng(0))).toEqual(third.proposal)
    expect(strategy.next([first, second, third], [fourth.proposal], rng(0))).toBe('done')
  })

  it('stores large tables of embeddings in 4 bits, and of fewer rows where there is data to train on', () => {
    const words = model`
input ids: i64[N,T]
e = Gather(E: f32[5000,64], ids)
y = MatMul(e, W: f32[64,64])
output y`
    const o = { model: words, bytes: 1_300_000 }
    const tables = names(proposed({}, o)).filter((n) => n.includes('tables'))
    expect(tables).toEqual([
      'dynamic int8, tables in 4-bit blocks',
      'dynamic int8, tables in a 4-bit palette',
      'dynamic int8, tables in a 4-bit palette of half the rank'
    ])
    const [, palette, halved] = proposed({}, o).filter((t) => t.proposal.name.includes('tables'))
    expect(palette?.proposal.recipe.slice(2)).toEqual([
      ['quantize-weights', { form: 'palette', bits: 4, perChannel: false, include: ['Gather_0'] }],
      ['quantize-dynamic', { include: ['Gather', 'MatMul'], exclude: ['Gather_0'] }],
      ['quantize-weights', { form: 'foldable', exclude: ['Gather_0'] }]
    ])
    expect(halved?.proposal.recipe.slice(2)).toEqual([
      ['factorize', { what: 'tables', ratio: 0.5, include: ['Gather_0'] }],
      ...(palette?.proposal.recipe.slice(2) ?? [])
    ])
    const fewer = proposed({}, { ...o, isTrained: true }).filter((t) => t.proposal.name.includes('fewer rows'))
    expect(fewer.map((t) => t.proposal.recipe.map(([pass]) => pass).join())).toEqual(
      Array.from({ length: 2 }, () => 'simplify,fuse,prune-rows,quantize-weights,quantize-dynamic,quantize-weights')
    )
    expect(names(proposed({}, { ...o, bytes: 10_000_000 })).filter((n) => n.includes('tables'))).toEqual([])
  })
})
