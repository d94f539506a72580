/** The Runner over onnxruntime-web in Node: its WebAssembly kernels, as a browser runs them on one thread. */
import { PareError } from '../base/errors.ts'
import { bytesText } from '../report/words.ts'
import { ortRunner } from '../runtime/index.ts'
import type { Runner, Source } from '../runtime/types.ts'
import { fileBytes, load } from './files.ts'

/** What to do where the package is absent. */
export const webHint = 'npm install onnxruntime-web, of the same version as onnxruntime-node'

/** As in a page without cross-origin isolation, which most are: there WebAssembly has no threads. */
const webThreads = 1

/** A WebAssembly engine addresses 4 GB, and holds the file and the weights made of it. */
const mostBytes = 1e9

/**
 * A Runner over onnxruntime-web. The package cannot read files itself, so the runner reads them and hands over their bytes.
 * Users install the package if they want it; `undefined` where it is not installed.
 * Throws `E_UNSUPPORTED` where it is there and does not load.
 *
 *     const runner = await webRunner()
 *     const session = await runner?.open(model)
 */
export async function webRunner(name = 'onnxruntime-web'): Promise<Runner | undefined> {
  try {
    // By a variable, so that no bundler takes the package in: it finds its WebAssembly files beside itself.
    const ort = (await import(name)) as typeof import('onnxruntime-web')
    ort.env.wasm.numThreads = webThreads
    const runner = ortRunner(ort)
    return {
      ...runner,
      can: { ...runner.can, external: true, threads: webThreads },
      open: async (source, o) => runner.open('path' in source ? await inMemory(source.path) : source, o)
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw new PareError('E_UNSUPPORTED', 'onnxruntime-web is installed and does not load', {
      facts: { why: cause instanceof Error ? cause.message : String(cause) },
      hint: webHint,
      cause
    })
  }
}

/** A file for an engine without a file system: its bytes, or the Model where weights lie beside it. Throws `E_LIMIT`. */
async function inMemory(path: string): Promise<Source> {
  const own = fileBytes(path)
  let beside = 0
  const model = await load(path, (file) => {
    beside += file.length
  })
  const bytes = own.length + beside
  if (bytes > mostBytes)
    throw new PareError('E_LIMIT', `the model takes ${bytesText(bytes)}, more than a WebAssembly engine holds`, {
      where: path
    })
  return beside > 0 ? model : own
}
