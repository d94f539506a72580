/**
 * What ONNX Runtime's fused transformer kernels gain over the operators they stand for, at its own full optimisation:
 * paired ratios, each pair timed interleaved in one process on one thread. Below 1 the fused kernel is faster.
 *
 *   node bench/fused-kernels.mjs [--runtime onnxruntime-node|onnxruntime-web] [--seconds 1] [--only NAME]
 *
 * Every row joins eight copies in a chain, so that the time of a run is that of the kernels. The rows of `fused` in
 * src/targets/ are taken from this table. Build first.
 */
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { elementCount, ortRunner, parse, rng, tensor } from '../dist/index.js'

const { values: given } = parseArgs({
  options: {
    runtime: { type: 'string', default: 'onnxruntime-node' },
    seconds: { type: 'string', default: '1' },
    only: { type: 'string' }
  }
})
const copies = 8
const domain = 'domain com.microsoft 1\n'

/** `parts(i, x)` names the copy's output `y{i}`; both spellings read and make [B,T,H]. */
const chain = (before, parts, h, length = 'T') => {
  let text = `${domain}input x0: f32[B,${length},${h}]\n${before}\n`
  for (let i = 0; i < copies; i++) text += `${parts(i, i === 0 ? 'x0' : `y${i - 1}`)}\n`
  return parse(`${text}output y${copies - 1}`)
}
const norm = (h) => `const g: f32[${h}]\nconst b: f32[${h}]\nconst c: f32[${h}]`
const split = (h, heads) => `const split: i64[4] = 0, 0, ${heads}, ${h / heads}\nconst merge: i64[3] = 0, 0, ${h}`
const ms = 'com.microsoft:'

/** Softmax(Q·Kᵀ/√d + mask)·V of what is projected already; `bias`: Q, K and V get one each. */
function apart(i, x, { mask, bias }) {
  const heads = ['q', 'k', 'v'].map((p) => {
    const from = bias ? `${p}b${i} = Add(${x}, c)\n` : ''
    const perm = p === 'k' ? '0,2,3,1' : '0,2,1,3'
    return `${from}${p}r${i} = Reshape(${bias ? `${p}b${i}` : x}, split)\n${p}t${i} = Transpose(${p}r${i}, perm=[${perm}])`
  })
  return `${heads.join('\n')}
s${i} = MatMul(qt${i}, kt${i})
d${i} = Mul(s${i}, root)
${mask ? `m${i} = Add(d${i}, mask)` : `m${i} = Identity(d${i})`}
p${i} = Softmax(m${i}, axis=-1)
o${i} = MatMul(p${i}, vt${i})
t${i} = Transpose(o${i}, perm=[0,2,1,3])
y${i} = Reshape(t${i}, merge)`
}
const joined = (i, x, heads, { mask, bias }) => {
  const inputs = [x, x, x, bias ? 'c3' : '_', '_', mask ? 'mask' : '_']
  while (inputs.at(-1) === '_') inputs.pop()
  return `y${i} = ${ms}MultiHeadAttention(${inputs.join(', ')}, num_heads=${heads})`
}
const attention = (o) => (h) => {
  const heads = 12
  const before = `${split(h, heads)}
const root: f32[] = ${1 / Math.sqrt(h / heads)}
const c: f32[${h}]
const c3: f32[${3 * h}]
${o.mask ? `input mask: f32[B,${o.mask},T,T]` : ''}`
  return [chain(before, (i, x) => apart(i, x, o), h), chain(before, (i, x) => joined(i, x, heads, o), h)]
}

/** One token behind a past of T: `groups` heads of keys and values for 12 heads of queries. */
const past = (o) => (h) => {
  const [heads, d] = [12, h / 12]
  const kv = 12 / o.groups
  const before = `${split(h, heads)}
const splitKv: i64[4] = 0, 0, ${kv}, ${d}
const root: f32[] = ${1 / Math.sqrt(d)}
const low: f32[] = -10000.0
const two: i64[1] = 2
const kt: i64[4] = 0, ${heads}, -1, ${d}
const rep: i64[5] = 1, 1, ${o.groups}, 1, 1
const Wk: f32[${h},${kv * d}]
input pk: f32[B,${kv},T,${d}]
input pv: f32[B,${kv},T,${d}]
const group: i64[4] = 0, ${kv}, -1, 0
const apart: i64[4] = 0, ${heads}, -1, 0
input mask: f32[B,1,Q,T1]`
  const counts = `length = Shape(mask, start=3, end=4)
keys = Cast(length, to=6)
before = Sub(keys, one: i32[1]{1})
texts = Shape(x0, start=0, end=1)
last = Expand(before, texts)`
  const repeat = (p, i) =>
    o.groups === 1
      ? `${p}g${i} = Identity(${p}c${i})`
      : `${p}u${i} = Unsqueeze(${p}c${i}, two)\n${p}e${i} = Tile(${p}u${i}, rep)\n${p}g${i} = Reshape(${p}e${i}, kt)`
  const spelled = (i, x) => `qr${i} = Reshape(${x}, split)
qt${i} = Transpose(qr${i}, perm=[0,2,1,3])
${['k', 'v']
  .map(
    (p) => `${p}w${i} = MatMul(${x}, Wk)
${p}r${i} = Reshape(${p}w${i}, splitKv)
${p}t${i} = Transpose(${p}r${i}, perm=[0,2,1,3])
${p}c${i} = Concat(p${p}, ${p}t${i}, axis=2)
${repeat(p, i)}`
  )
  .join('\n')}
kx${i} = Transpose(kg${i}, perm=[0,1,3,2])
s${i} = MatMul(qt${i}, kx${i})
d${i} = Mul(s${i}, root)
m${i} = Add(d${i}, mask)
p${i} = Softmax(m${i}, axis=-1)
o${i} = MatMul(p${i}, vg${i})
t${i} = Transpose(o${i}, perm=[0,2,1,3])
y${i} = Reshape(t${i}, merge)`
  const joined = (i, x) => `kw${i} = MatMul(${x}, Wk)
vw${i} = MatMul(${x}, Wk)
y${i}, kc${i}, vc${i} = ${ms}MultiHeadAttention(${x}, kw${i}, vw${i}, _, _, mask, pk, pv, num_heads=${heads})`
  const shared = (i, x) =>
    `${spelled(i, x)
      .split('\n')
      .filter((line) => !/^[kv][ueg]\d/.test(line))
      .join('\n')
      .replace(`kx${i} = Transpose(kg${i}`, `kx${i} = Transpose(kc${i}`)
      .replace(
        `s${i} = MatMul(qt${i}, kx${i})`,
        `qg${i} = Reshape(qt${i}, group)\nsg${i} = MatMul(qg${i}, kx${i})\ns${i} = Reshape(sg${i}, apart)`
      )
      .replace(
        `o${i} = MatMul(p${i}, vg${i})`,
        `pg${i} = Reshape(p${i}, group)\nog${i} = MatMul(pg${i}, vc${i})\no${i} = Reshape(og${i}, apart)`
      )}`
  // The kernel reads the keys so far, and the last of each text.
  const grouped = (i, x) => `kw${i} = MatMul(${x}, Wk)
vw${i} = MatMul(${x}, Wk)
y${i}, kc${i}, vc${i} = ${ms}GroupQueryAttention(${x}, kw${i}, vw${i}, pk, pv, last, keys, _, _, _, mask, num_heads=${heads}, kv_num_heads=${kv})`
  const [from, to] = o.kernel ? [shared, grouped] : [spelled, o.groups === 1 ? joined : shared]
  const finish = (text) => {
    const presents = Array.from({ length: copies }, (_, i) => `kc${i}, vc${i}`).join(', ')
    return parse(`${domain}input x0: f32[B,Q,${h}]
${before}
${o.kernel ? counts : ''}
${text}
output y${copies - 1}, ${presents}`)
  }
  const all = (parts) => Array.from({ length: copies }, (_, i) => parts(i, i === 0 ? 'x0' : `y${i - 1}`)).join('\n')
  return [finish(all(from)), finish(all(to))]
}

/** One token behind a past of T that is kept as `layout`: keys and values are joined in front of the kernel. */
const keptPast = (layout) => (h) => {
  const [heads, d] = [12, h / 12]
  const turned = layout === 'keys turned'
  const kept = turned ? [`B,${heads},${d},T`, `B,${heads},T,${d}`] : [`B,T,${heads},${d}`, `B,T,${heads},${d}`]
  const before = `${split(h, heads)}
const root: f32[] = ${1 / Math.sqrt(d)}
const Wk: f32[${h},${h}]
input pk: f32[${kept[0]}]
input pv: f32[${kept[1]}]
input mask: f32[B,1,Q,T1]`
  const joined = (
    i,
    x
  ) => `${['k', 'v'].map((p) => `${p}w${i} = MatMul(${x}, Wk)\n${p}r${i} = Reshape(${p}w${i}, split)`).join('\n')}
${
  turned
    ? `kt${i} = Transpose(kr${i}, perm=[0,2,3,1])
vt${i} = Transpose(vr${i}, perm=[0,2,1,3])
kc${i} = Concat(pk, kt${i}, axis=3)
vc${i} = Concat(pv, vt${i}, axis=2)`
    : `kc${i} = Concat(pk, kr${i}, axis=1)\nvc${i} = Concat(pv, vr${i}, axis=1)`
}`
  const spelled = (i, x) => `${joined(i, x)}
${turned ? '' : `kx${i} = Transpose(kc${i}, perm=[0,2,3,1])\nvx${i} = Transpose(vc${i}, perm=[0,2,1,3])`}
qr${i} = Reshape(${x}, split)
qt${i} = Transpose(qr${i}, perm=[0,2,1,3])
s${i} = MatMul(qt${i}, k${turned ? 'c' : 'x'}${i})
d${i} = Mul(s${i}, root)
m${i} = Add(d${i}, mask)
p${i} = Softmax(m${i}, axis=-1)
o${i} = MatMul(p${i}, v${turned ? 'c' : 'x'}${i})
t${i} = Transpose(o${i}, perm=[0,2,1,3])
y${i} = Reshape(t${i}, merge)`
  const fused = (i, x) => `${joined(i, x)}
${turned ? `kx${i} = Transpose(kc${i}, perm=[0,1,3,2])\nvx${i} = Identity(vc${i})` : `kx${i} = Reshape(kc${i}, merge)\nvx${i} = Reshape(vc${i}, merge)`}
y${i} = ${ms}MultiHeadAttention(${x}, kx${i}, vx${i}, _, _, mask, num_heads=${heads})`
  return [chain(before, spelled, h, 'Q'), chain(before, fused, h, 'Q')]
}

const rotation = (h) => {
  const heads = 12
  const d = h / heads
  const before = `${split(h, heads)}
const cosT: f32[512,${d / 2}]
const sinT: f32[512,${d / 2}]
const z: i64[1] = 0
const half: i64[1] = ${d / 2}
const far: i64[1] = ${d}
const last: i64[1] = 3
input pos: i64[B,T]
cg = Gather(cosT, pos)
sg = Gather(sinT, pos)
cc = Concat(cg, cg, axis=-1)
sc = Concat(sg, sg, axis=-1)
one: i64[1] = Identity(ax: i64[1]{1})
cu = Unsqueeze(cc, one)
su = Unsqueeze(sc, one)`
  const spelled = (i, x) => `r${i} = Reshape(${x}, split)
t${i} = Transpose(r${i}, perm=[0,2,1,3])
a${i} = Mul(t${i}, cu)
l${i} = Slice(t${i}, z, half, last)
u${i} = Slice(t${i}, half, far, last)
n${i} = Neg(u${i})
w${i} = Concat(n${i}, l${i}, axis=-1)
e${i} = Mul(w${i}, su)
f${i} = Add(a${i}, e${i})
k${i} = Transpose(f${i}, perm=[0,2,1,3])
y${i} = Reshape(k${i}, merge)`
  const fused = (i, x) => `r${i} = Reshape(${x}, split)
t${i} = Transpose(r${i}, perm=[0,2,1,3])
f${i} = ${ms}RotaryEmbedding(t${i}, pos, cosT, sinT)
k${i} = Transpose(f${i}, perm=[0,2,1,3])
y${i} = Reshape(k${i}, merge)`
  return [chain(before, spelled, h), chain(before, fused, h)]
}

const embeddings = (h) => {
  const before = `input ids: i64[B,T]\ninput types: i64[B,T]\ninput pos: i64[B,T]\n${norm(h)}
const W: f32[1000,${h}]\nconst P: f32[512,${h}]\nconst S: f32[2,${h}]\ni32 = Cast(ids, to=6)\np32 = Cast(pos, to=6)\ns32 = Cast(types, to=6)`
  const spelled = (i, x) => `w${i} = Gather(W, ids)
s${i} = Gather(S, types)
a${i} = Add(w${i}, s${i})
p${i} = Gather(P, pos)
e${i} = Add(a${i}, p${i})
l${i} = LayerNormalization(e${i}, g, b, axis=-1)
y${i} = Add(${x}, l${i})`
  const fused = (i, x) => `l${i}, _ = ${ms}EmbedLayerNormalization(i32, s32, W, P, S, g, b, _, p32)
y${i} = Add(${x}, l${i})`
  return [chain(before, spelled, h), chain(before, fused, h)]
}

const skip =
  (name, { bias }) =>
  (h) => {
    const isSimple = name === 'SkipSimplifiedLayerNormalization'
    const before = `${norm(h)}\ninput skip: f32[B,T,${h}]`
    const spelled = (i, x) => `${bias ? `a${i} = Add(${x}, c)` : `a${i} = Identity(${x})`}
s${i} = Sum(a${i}, skip)
${isSimple ? `y${i} = SimplifiedLayerNormalization(s${i}, g, axis=-1, epsilon=1e-5, stash_type=1)` : `y${i} = LayerNormalization(s${i}, g, b, axis=-1)`}`
    const extra = isSimple ? (bias ? ', c' : '') : `, b${bias ? ', c' : ''}`
    const fused = (i, x) => `y${i} = ${ms}${name}(${x}, skip, g${extra}, epsilon=1e-5)`
    return [chain(before, spelled, h), chain(before, fused, h)]
  }

const pointwise = (spelled, fused) => (h) => {
  const before = `${norm(h)}\nconst half: f32[] = 0.5\nconst one: f32[] = 1.0\nconst root: f32[] = 1.4142135\nconst k: f32[] = 0.044715
const s: f32[] = 0.7978846\nconst two: f32[] = 2.0\nconst three: f32[] = 3.0\nconst eps: f32[] = 1e-5\nconst q: f32[] = 1.702\nconst last: i64[1] = -1`
  return [chain(before, spelled, h), chain(before, fused, h)]
}
const gelu = (x, i) => `d${i} = Div(${x}, root)
e${i} = Erf(d${i})
f${i} = Add(e${i}, one)
m${i} = Mul(${x}, f${i})
y${i} = Mul(m${i}, half)`
const tanhGelu = (x, i) => `c3${i} = Pow(${x}, three)
k${i} = Mul(c3${i}, k)
a${i} = Add(${x}, k${i})
m${i} = Mul(a${i}, s)
t${i} = Tanh(m${i})
u${i} = Add(t${i}, one)
h${i} = Mul(${x}, half)
y${i} = Mul(h${i}, u${i})`
const layerNorm = (x, i) => `a${i} = ReduceMean(${x}, last)
c${i} = Sub(${x}, a${i})
p${i} = Pow(c${i}, two)
v${i} = ReduceMean(p${i}, last)
w${i} = Add(v${i}, eps)
r${i} = Sqrt(w${i})
n${i} = Div(c${i}, r${i})
m${i} = Mul(n${i}, g)
y${i} = Add(m${i}, b)`
const rms = (x, i) => `p${i} = Pow(${x}, two)
v${i} = ReduceMean(p${i}, last)
w${i} = Add(v${i}, eps)
r${i} = Sqrt(w${i})
n${i} = Div(${x}, r${i})
y${i} = Mul(n${i}, g)`

const cases = {
  'LayerNormalization / spelled': pointwise(
    (i, x) => layerNorm(x, i),
    (i, x) => `y${i} = LayerNormalization(${x}, g, b, axis=-1)`
  ),
  'SimplifiedLayerNormalization / spelled': pointwise(
    (i, x) => rms(x, i),
    (i, x) => `y${i} = SimplifiedLayerNormalization(${x}, g, axis=-1, epsilon=1e-5, stash_type=1)`
  ),
  'Gelu / spelled': pointwise(
    (i, x) => gelu(x, i),
    (i, x) => `y${i} = Gelu(${x})`
  ),
  'BiasGelu / Add, Gelu': pointwise(
    (i, x) => `a${i} = Add(${x}, c)\ny${i} = Gelu(a${i})`,
    (i, x) => `y${i} = ${ms}BiasGelu(${x}, c)`
  ),
  'Gelu(tanh) / spelled': pointwise(
    (i, x) => tanhGelu(x, i),
    (i, x) => `y${i} = Gelu(${x}, approximate="tanh")`
  ),
  'FastGelu / spelled': pointwise(
    (i, x) => tanhGelu(x, i),
    (i, x) => `y${i} = ${ms}FastGelu(${x})`
  ),
  'FastGelu with bias / Add, FastGelu': pointwise(
    (i, x) => `a${i} = Add(${x}, c)\ny${i} = ${ms}FastGelu(a${i})`,
    (i, x) => `y${i} = ${ms}FastGelu(${x}, c)`
  ),
  'QuickGelu / x·sigmoid(1.702x)': pointwise(
    (i, x) => `a${i} = Mul(${x}, q)\ns${i} = Sigmoid(a${i})\ny${i} = Mul(${x}, s${i})`,
    (i, x) => `y${i} = ${ms}QuickGelu(${x}, alpha=1.702)`
  ),
  'QuickGelu(1) / x·sigmoid(x)': pointwise(
    (i, x) => `s${i} = Sigmoid(${x})\ny${i} = Mul(${x}, s${i})`,
    (i, x) => `y${i} = ${ms}QuickGelu(${x}, alpha=1.0)`
  ),
  SkipLayerNormalization: skip('SkipLayerNormalization', {}),
  'SkipLayerNormalization with bias': skip('SkipLayerNormalization', { bias: true }),
  SkipSimplifiedLayerNormalization: skip('SkipSimplifiedLayerNormalization', {}),
  EmbedLayerNormalization: embeddings,
  RotaryEmbedding: rotation,
  MultiHeadAttention: attention({}),
  'MultiHeadAttention, mask [B,1,T,T]': attention({ mask: 1 }),
  'MultiHeadAttention, bias': attention({ bias: true }),
  'MultiHeadAttention, bias and mask': attention({ bias: true, mask: 1 }),
  'MultiHeadAttention, one token behind T': past({ groups: 1 }),
  'queries of 3 heads as rows / repeated keys, one token behind T': past({ groups: 3 }),
  'GroupQueryAttention / queries of 3 heads as rows, one token behind T': past({ groups: 3, kernel: true }),
  'GroupQueryAttention / queries of 12 heads as rows, one token behind T': past({ groups: 12, kernel: true }),
  'MultiHeadAttention, one token behind T of keys kept turned': keptPast('keys turned'),
  'MultiHeadAttention, one token behind T kept before heads come first': keptPast('before heads')
}

const sizes = [
  { B: 1, T: 16, h: 384 },
  { B: 1, T: 128, h: 384 },
  { B: 8, T: 64, h: 384 }
]
// Only one of the packages is loaded: both register in the same list of backends.
const runner = given.runtime === 'onnxruntime-node' ? (await import('../dist/node/index.js')).nodeRunner() : webRunner()

function webRunner() {
  const ort = createRequire(import.meta.url)('onnxruntime-web')
  ort.env.wasm.numThreads = 1
  return ortRunner(ort)
}

function feedsOf(model, { B, T }) {
  const random = rng(1)
  const sizes = { B, T, Q: 1, T1: T + 1 }
  return Object.fromEntries(
    model.graph.inputs.map((id) => {
      const { dtype, shape } = model.graph.values.get(id)
      const dims = shape.map((d) => (typeof d === 'number' ? d : sizes[d]))
      const values = Array.from({ length: elementCount(dims) }, () =>
        dtype === 'float32' ? random.normal() : random.below(2)
      )
      return [id, tensor(dtype, dims, values)]
    })
  )
}

const row = (cells) => console.log(`| ${cells.join(' | ')} |`)
row([`${given.runtime} ${runner.version}`, ...sizes.map((s) => `${s.B}×${s.T}×${s.h}`), 'largest difference'])
row(['---', ...sizes.map(() => '---'), '---'])
for (const [name, make] of Object.entries(cases)) {
  if (given.only && !name.includes(given.only)) continue
  const cells = []
  let worst = 0
  for (const size of sizes) {
    const [before, after] = make(size.h)
    const sessions = [await runner.open(before), await runner.open(after)]
    const feeds = feedsOf(before, size)
    const [a, b] = [await sessions[0].run(feeds), await sessions[1].run(feeds)]
    worst = Math.max(worst, apartBy(Object.values(a)[0], Object.values(b)[0]))
    cells.push((await ratio(sessions.map((s) => () => s.run(feeds)))).toFixed(2))
    for (const s of sessions) await s.close()
  }
  row([name, ...cells, worst.toExponential(1)])
}

function apartBy(a, b) {
  const [x, y] = [a, b].map((t) => new Float32Array(t.bytes.slice().buffer))
  return x.reduce((w, v, i) => Math.max(w, Math.abs(v - y[i])), 0) / x.reduce((w, v) => Math.max(w, Math.abs(v)), 1e-6)
}

async function ratio([a, b]) {
  const until = performance.now() + Number(given.seconds) * 1000
  const ratios = []
  const time = async (run) => {
    const start = performance.now()
    await run()
    return performance.now() - start
  }
  for (let i = 0; performance.now() < until || ratios.length < 8; i++) {
    const pair = i % 2 ? [await time(a), await time(b)] : [await time(b), await time(a)].reverse()
    if (i > 1) ratios.push(pair[1] / pair[0])
  }
  return ratios.sort((p, q) => p - q)[ratios.length >> 1]
}
