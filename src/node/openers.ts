/**
 * How each runtime opens a file in a process of its own, as text of a program, so that it is the same whether Pare runs from
 * source or built. After it there are, beside what `child.ts` says:
 *
 *     await start()                      // what a first model costs beside itself; the model is none
 *     const session = await open(path)   // { inputs, outputs, run, close }
 *     await session.run(feeds)           // [{ name, dtype, shape, data }] of typed arrays, in and out
 */
import { writeModel } from '../formats/index.ts'
import { model } from '../ir/text.ts'

/** ONNX Runtime. `job.first`: a model without work, as base64, for a package that is handed bytes and starts with its first session. */
const onnxRuntime = `
const ort = module.InferenceSession ? module : module.default
const create = async (source, extra = {}) => ort.InferenceSession.create(source, {
  intraOpNumThreads: job.threads, interOpNumThreads: 1, logSeverityLevel: 4, extra
})
// By its first bytes: a file that is not yet in place has another ending.
const isOrtFile = (path) => {
  const head = Buffer.alloc(8)
  const file = openSync(path)
  readSync(file, head)
  closeSync(file)
  return head.toString('latin1', 4) === 'ORTM'
}
const start = async () => {
  if (!job.first) return
  ort.env.wasm.numThreads = 1
  await (await create(new Uint8Array(Buffer.from(job.first, 'base64')))).release()
}
const open = async (path) => {
  const session = await create(
    job.first ? new Uint8Array(readFileSync(path)) : path,
    isOrtFile(path) ? { 'session.load_model_format': 'ORT' } : {}
  )
  const names = session.outputMetadata.filter((o) => o.isTensor).map((o) => o.name)
  const run = async (feeds) => {
    const given = feeds.map((f) => [f.name, new ort.Tensor(f.dtype, f.strings ?? f.data, f.shape)])
    const out = await session.run(Object.fromEntries(given), names)
    return names.map((name) => ({ name, dtype: out[name].type, shape: out[name].dims, data: out[name].data }))
  }
  return { run, close: () => session.release() }
}
`

/**
 * LiteRT for the browser, whose loader takes the process for a web worker. The bindings under its JavaScript classes are
 * called: those take every element type, the classes float32, int32 and uint8 only. What it prints is kept, since its
 * errors say only what failed and the print says why; a run that failed prints, and returns what was in memory.
 */
const liteRt = `
const { createRequire } = await import('node:module')
const { dirname, join } = await import('node:path')
const { fileURLToPath } = await import('node:url')
const { runInThisContext } = await import('node:vm')
const said = []
for (const level of ['log', 'info', 'warn', 'error', 'debug']) console[level] = (...all) => said.push(all.join(' '))
const folder = join(dirname(fileURLToPath(job.module)), '..', 'wasm')
Object.assign(globalThis, {
  self: globalThis, __dirname: folder, require: createRequire(job.module),
  importScripts: (path) => runInThisContext(readFileSync(String(path), 'utf8'), { filename: String(path) })
})
const hasFailed = () => said.some((line) => line.startsWith('ERROR: '))
const because = (error) => {
  const why = said.splice(0).flatMap((line) => (line.startsWith('ERROR: ') ? [line.slice(7)] : []))
  return new Error([...new Set([...why, ...(error ? [error.message ?? String(error)] : [])])].join('; '))
}
const dtypes = {
  1: 'float32', 2: 'int32', 3: 'uint8', 4: 'int64', 6: 'bool', 7: 'int16', 9: 'int8', 10: 'float16', 11: 'float64',
  13: 'uint64', 16: 'uint32', 17: 'uint16', 18: 'int4', 19: 'bfloat16'
}
let lib, wasm, environment
const start = async () => {
  lib ??= await module.loadLiteRt(folder)
  wasm = lib.liteRtWasm
  environment = lib.getDefaultEnvironment()
}
const listed = (vector) => {
  const all = Array.from({ length: vector.size() }, (_, i) => vector.get(i))
  vector.delete()
  return all
}
const typeOf = (t) => {
  const layout = t.layout()
  const shape = listed(layout.dimensions())
  layout.delete()
  const { value } = t.elementType()
  return { dtype: dtypes[value] ?? 'element type ' + value, shape }
}
const openBytes = async (bytes) => {
  await start()
  said.length = 0
  const at = wasm._malloc(bytes.length)
  let model, compiled
  const buffers = []
  const close = () => {
    for (const b of buffers.splice(0)) b.delete()
    compiled?.delete()
    model?.delete()
    wasm._free(at)
  }
  try {
    wasm.HEAPU8.set(bytes, at)
    model = wasm.loadModel(environment.liteRtEnvironment, at, bytes.length)
    compiled = await wasm.compileModel(environment.liteRtEnvironment, model, {
      environment, accelerator: 'wasm', cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {}
    })
    const signature = model.getSignature(0)
    const [taken, given] = [listed(signature.inputNames()), listed(signature.outputNames())]
    signature.delete()
    const inputs = taken.map((name, i) => {
      const type = model.getInputTensorType(0, i)
      buffers.push(wasm.LiteRtTensorBuffer.createManaged(
        environment.liteRtEnvironment, wasm.LiteRtTensorBufferType.HOST_MEMORY, type, type.bytes()))
      const told = { name, ...typeOf(type) }
      type.delete()
      return told
    })
    const outputs = given.map((name, i) => {
      const type = model.getOutputTensorType(0, i)
      const told = { name, ...typeOf(type) }
      type.delete()
      return told
    })
    if (hasFailed()) throw because()
    const run = async (feeds) => {
      for (const [i, { name, shape }] of inputs.entries()) {
        // A file may call its inputs otherwise than its signature, which LiteRT tells.
        const fed = feeds.find((f) => f.name === name) ?? (feeds.length === inputs.length ? feeds[i] : undefined)
        if (!fed) throw new Error("input '" + name + "' is missing")
        const { buffer, byteOffset, byteLength } = fed.data
        if (byteLength !== buffers[i].packedSize())
          throw new Error("input '" + name + "' is [" + shape + '], and was given [' + fed.shape + ']')
        wasm.HEAPU8.set(new Uint8Array(buffer, byteOffset, byteLength), buffers[i].lock(wasm.LiteRtTensorBufferLockMode.WRITE))
        buffers[i].unlock()
      }
      const results = await compiled.run(0, buffers)
      if (hasFailed()) throw because()
      return results.map((b, i) => {
        const type = b.tensorType()
        const told = typeOf(type)
        type.delete()
        const from = b.lock(wasm.LiteRtTensorBufferLockMode.READ)
        const data = wasm.HEAPU8.slice(from, from + b.packedSize())
        b.unlock()
        b.delete()
        return { name: given[i], ...told, data }
      })
    }
    const told = async (feeds) => run(feeds).catch((error) => { throw because(error) })
    return { inputs, outputs, run: told, close }
  } catch (error) {
    close()
    throw because(error)
  }
}
const open = (path) => openBytes(readFileSync(path))
`

/** Compiled models. The section `pare` comes first and says where inputs and outputs lie. */
const compiled = `
const start = async () => {}
const size = (shape) => shape.reduce((n, d) => n * d, 1)
const within = ({ memory }, { name, dtype, shape, offset }) => {
  const each = dtype === 'int64' ? 4 : arrays[dtype].BYTES_PER_ELEMENT
  if (offset % each !== 0 || offset + size(shape) * each > memory.buffer.byteLength)
    throw new Error(name + ' lies outside its memory')
}
const openBytes = async (bytes) => {
  const wasm = await WebAssembly.compile(bytes)
  const [section] = WebAssembly.Module.customSections(wasm, 'pare')
  const note = JSON.parse(new TextDecoder().decode(section))
  const { memory, ...exports } = (await WebAssembly.instantiate(wasm)).exports
  const ways = [note, ...(note.others ?? [])].map((ports, i) => ({ ...ports, compute: exports[i ? 'run' + i : 'run'] }))
  if (!(memory instanceof WebAssembly.Memory) || ways.some((w) => typeof w.compute !== 'function'))
    throw new Error('it has no memory or run')
  for (const { inputs, outputs } of ways) for (const port of [...inputs, ...outputs]) within({ memory }, port)
  const run = async (feeds) => {
    const fits = ({ name, shape }) => String(feeds.find((f) => f.name === name)?.shape) === String(shape)
    const { inputs, outputs, compute } = ways.find((w) => w.inputs.every(fits)) ?? ways[0]
    for (const [i, { name, dtype, shape, offset }] of inputs.entries()) {
      const fed = feeds.find((f) => f.name === name)
      if (!fed) throw new Error("input '" + name + "' is missing")
      if (fed.dtype !== dtype || String(fed.shape) !== String(shape) || fed.data.length !== size(shape))
        throw new Error("input '" + name + "' is " + dtype + ' ' + ways.map((w) => '[' + w.inputs[i].shape + ']').join(' or ') + ', and was given ' + fed.dtype + ' [' + fed.shape + ']')
      const data = dtype === 'int64' ? Int32Array.from(fed.data, Number) : fed.data
      new Uint8Array(memory.buffer, offset, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    }
    compute()
    return outputs.map(({ name, dtype, shape, offset }) => {
      const of = dtype === 'int64' ? Int32Array : arrays[dtype]
      const data = new of(memory.buffer, offset, size(shape)).slice()
      return { name, dtype, shape, data: dtype === 'int64' ? BigInt64Array.from(data, BigInt) : data }
    })
  }
  return { inputs: note.inputs, outputs: note.outputs, run, close: () => {} }
}
const open = (path) => openBytes(readFileSync(path))
`

const empty = model`
input x: f32[1]
y = Identity(x)
output y`

/** What the text for a package asks of its job: onnxruntime-web starts with a first session. */
export const startOf = (runtime: string): { readonly first?: string } =>
  runtime === 'onnxruntime-web' ? { first: Buffer.from(writeModel(empty).bytes).toString('base64') } : {}

const openers: Readonly<Record<string, string>> = { '@litertjs/core': liteRt, 'pare-wasm': compiled }

/** The text for a package. */
export const openerOf = (runtime: string): string => openers[runtime] ?? onnxRuntime

/** Compiled models are modules of their own. */
export const needsPackage = (runtime: string): boolean => runtime !== 'pare-wasm'
