/** Compresses a model from a program, on samples that the program makes itself. `node compress.mjs model.onnx data.npz` */
import { compressFile } from 'pare/node'

const [model = 'model.onnx', data = 'data.npz'] = process.argv.slice(2)
const { report, unmet } = await compressFile(model, {
  out: 'small.onnx',
  data,
  maxDrop: 0.02,
  recipe: [['quantize-weights', {}]],
  force: true
})
if (unmet) throw new Error('no candidate keeps the promise')
console.log(`${report.before.bytes} bytes before, ${report.after.bytes} after, ${JSON.stringify(report.drop)}`)
