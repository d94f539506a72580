/** Networks that are generated, the same each time. */

/** Numbers in ±1, the same for the same seed. */
function* noise(seed) {
  for (let i = 1; ; i++) {
    const h = Math.imul(i, 0x9e3779b1 ^ Math.imul(seed + 1, 0x85ebca6b))
    yield (Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >> 16) / 2 ** 15
  }
}

function filled(count, scale, seed) {
  const from = noise(seed)
  return Float32Array.from({ length: count }, () => scale * from.next().value)
}

/**
 * A classifier of 200 Gemm layers over 192 features: one in, 99 residual blocks of two with a Relu between, one out to ten
 * classes; 7.3 million weights.
 */
export function layers200(width = 192, inputs = 64) {
  const values = new Map([['x', { id: 'x', type: 'tensor', dtype: 'float32', shape: ['N', inputs] }]])
  const nodes = []
  const constant = (id, shape, scale, seed) => {
    const bytes = new Uint8Array(
      filled(
        shape.reduce((a, b) => a * b, 1),
        scale,
        seed
      ).buffer
    )
    values.set(id, { id, type: 'tensor', dtype: 'float32', shape, data: { dtype: 'float32', shape, bytes } })
    return id
  }
  const add = (op, ids, id) => {
    nodes.push({ name: `${op}_${id}`, op, inputs: ids, outputs: [id], attrs: {} })
    values.set(id, { id, type: 'tensor' })
    return id
  }
  let layers = 0
  const gemm = (x, from, to, scale) => {
    const i = layers++
    const ids = [
      x,
      constant(`w${i}`, [from, to], scale * Math.sqrt(3 / from), 2 * i),
      constant(`b${i}`, [to], 0.05, 2 * i + 1)
    ]
    return add('Gemm', ids, `h${i}`)
  }
  let x = gemm('x', inputs, width, 1)
  for (let block = 0; block < 99; block++) {
    const inner = add('Relu', [gemm(x, width, width, 1)], `r${block}`)
    x = add('Add', [x, gemm(inner, width, width, 0.2)], `s${block}`)
  }
  const y = gemm(x, width, 10, 1)
  return { graph: { name: 'layers200', inputs: ['x'], outputs: [y], nodes, values }, opset: 21, domains: {}, meta: {} }
}

/** An .npy file of float32 samples in ±1.7. */
export function npyOf(samples, features) {
  const head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${samples}, ${features}), }`
  const text = `${head.padEnd(128 - 10 - 1)}\n`
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length, 0])
  return Buffer.concat([
    start,
    Buffer.from(text, 'latin1'),
    new Uint8Array(filled(samples * features, 1.7, 12345).buffer)
  ])
}
