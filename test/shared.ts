import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Path of a file in the folder of real models and data beside the checkout; `undefined` where it is absent. */
export function sharedData(...parts: readonly string[]): string | undefined {
  const path = join(fileURLToPath(new URL('../../shared/data/', import.meta.url)), ...parts)
  return existsSync(path) ? path : undefined
}

/** Folder of Debian's libonnx-testdata; `undefined` where the package is not installed. */
export function onnxCases(): string | undefined {
  const path = '/usr/share/libonnx-testdata/data'
  return existsSync(path) ? path : undefined
}

const cpu = '/proc/cpuinfo'

/** On x86 without VNNI the engine adds pairs of u8·s8 in 16 bits, which saturate: full-range int8 is wrong there, as it should be. */
export const saturates = process.arch === 'x64' && existsSync(cpu) && !/vnni/.test(readFileSync(cpu, 'utf8'))

/** Paths of the TensorFlow Lite files there; none where the folder is absent. */
export const flatFiles = (): readonly string[] =>
  ['kws', 'tflite'].flatMap((folder) => {
    const path = sharedData(folder)
    const names = path ? readdirSync(path).filter((name) => name.endsWith('.tflite')) : []
    return names.map((name) => join(path as string, name))
  })
