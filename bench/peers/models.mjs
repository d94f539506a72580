/** The models that are compared, and which samples calibrate and which are measured on. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { arrayDataset, splitData, tensor } from '../../dist/index.js'
import { load, openDataset } from '../../dist/node/index.js'

/** As the models were trained. */
const cifar = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/**
 * Files under DATA, described in docs/benchmarks.md. `train`: calibration has a file of its own; `options`: what
 * onnxruntime's tool needs to be told.
 */
export const models = [
  { name: 'ds_cnn', file: 'kws/ds_cnn.onnx', data: 'kws/kws_dev.npz' },
  { name: 'mobilenet', file: 'imagenet/mobilenet_v1_025_224.onnx', data: 'imagenet/images', preprocess: 'tf' },
  ...['resnet20', 'resnet56'].map((name) => ({
    name,
    file: `cifar10-jpeg/${name}.onnx`,
    data: 'cifar10-jpeg/test_dev.npz',
    train: 'cifar10-jpeg/train.npz',
    preprocess: cifar
  })),
  {
    name: 'mnist-8',
    file: 'mnist/mnist-8.onnx',
    data: 'mnist',
    // Without it onnxruntime 1.30 stops with a ValueError: it takes the bias for a vector, which here is [1, 10].
    options: ['QDQDisableWeightAdjustForInt32Bias']
  }
]

/** Below so many samples to measure on, two folds are made. */
const enough = 1000

/**
 * Folds of a model's data, `{ calibration, test }`, arrays that share no sample. Pare's own split by seed says which:
 * its calibration and selection parts calibrate, its test part is measured on. Where that is little, the second fold
 * is the first the other way round, so that every sample is measured on once, and `costs` calibrates on all, to see what
 * many samples cost. At most `most` samples calibrate. `batch`: samples a run while the peers calibrate.
 */
export async function foldsOf(root, m, { most, seed }) {
  const model = await load(join(root, m.file))
  const inputs = model.graph.inputs
    .map((id) => model.graph.values.get(id))
    .filter((v) => !v.data)
    .map(({ id, dtype, shape }) => ({ name: id, dtype, shape }))
  const open = (path) =>
    openDataset({ path: join(root, path), ...(m.preprocess && { preprocess: m.preprocess }) }, inputs)
  const fold = async (chosen, measured) => {
    const { name, shape } = inputs[0]
    const calibration = await gather(name, chosen, most)
    const batch = typeof shape[0] === 'number' ? shape[0] : batchFor(calibration.n)
    return { name, batch, calibration, test: await gather(name, measured) }
  }
  const all = await open(m.data)
  if (m.train) {
    const { calibration, selection } = splitData(await open(m.train), seed)
    return { folds: [await fold([calibration, selection], [all])] }
  }
  const { calibration, selection, test } = splitData(all, seed)
  const first = await fold([calibration, selection], [test])
  if (test.size >= enough) return { folds: [first] }
  return { folds: [first, await fold([test], [calibration, selection])], costs: await fold([all], [test]) }
}

/**
 * Samples a run for the peers where the model leaves that open: the most that leave no smaller last batch, with which
 * onnxruntime's histograms fail. Pare chooses its own.
 */
function batchFor(n) {
  for (let size = 32; size > 1; size--) if (n % size === 0) return size
  return 1
}

/** The first samples of datasets in turn, as one array. */
export async function gather(name, datasets, most = Number.POSITIVE_INFINITY) {
  const rows = []
  const labels = []
  for (const d of datasets)
    for await (const b of d.batches({ batch: 1 })) {
      if (rows.length >= most) break
      rows.push(b.inputs[name])
      labels.push(...b.labels)
    }
  const shape = [rows.length, ...rows[0].shape.slice(1)]
  const bytes = Buffer.concat(rows.map((r) => r.bytes))
  return { n: rows.length, shape, bytes, labels }
}

/** Samples as a dataset. */
export const datasetOf = (name, { shape, bytes, labels }) =>
  arrayDataset({ inputs: { [name]: { dtype: 'float32', shape, bytes } }, labels })

/** One sample as a model's input. */
export const sampleOf = ({ n, shape, bytes }) => {
  const row = bytes.subarray(0, bytes.length / n)
  return tensor('float32', [1, ...shape.slice(1)], new Float32Array(new Uint8Array(row).buffer))
}

/** Writes samples as NumPy's format, version 1.0. */
export function writeNpy(path, { shape, bytes }) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)
  const head = Buffer.from(`\x93NUMPY\x01\x00\0\0${padded}\n`, 'latin1')
  head.writeUInt16LE(padded.length + 1, 8)
  writeFileSync(path, Buffer.concat([head, bytes]))
}
