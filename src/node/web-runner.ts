/** The Runner over onnxruntime-web in Node: its WebAssembly kernels, as a browser runs them on one thread. */
import { PareError } from '../base/errors.ts'
import { ortRunner } from '../runtime/index.ts'
import type { Runner } from '../types.ts'

/** What to do where the package is absent. */
export const webHint = 'npm install onnxruntime-web, of the same version as onnxruntime-node'

/**
 * A Runner over onnxruntime-web, a package that users install where they want it; `undefined` where they have not.
 * Throws `E_UNSUPPORTED` where it is there and does not load.
 *
 *     const runner = await webRunner()
 *     const session = await runner?.open(model)
 */
export async function webRunner(name = 'onnxruntime-web'): Promise<Runner | undefined> {
  try {
    // By a variable, so that no bundler takes the package in: it finds its WebAssembly files beside itself.
    const ort = (await import(name)) as typeof import('onnxruntime-web')
    ort.env.wasm.numThreads = 1
    return ortRunner(ort)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw new PareError('E_UNSUPPORTED', 'onnxruntime-web is installed and does not load', {
      facts: { why: cause instanceof Error ? cause.message : String(cause) },
      hint: webHint,
      cause
    })
  }
}
