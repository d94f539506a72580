/** Writes the loader of a compiled module beside it. */
import { basename, extname } from 'node:path'
import { toArray } from '../base/bytes.ts'
import { loaderOf, loaderTypes, noteOf } from '../compile/index.ts'
import { fileBytes, writeAtomic } from './files.ts'

/** `model.wasm` → `model.js` and `model.d.ts`. */
export function loaderPaths(module: string): readonly [js: string, types: string] {
  const stem = module.slice(0, module.length - extname(module).length)
  return [`${stem}.js`, `${stem}.d.ts`]
}

/** `inline`: the loader holds the module, and reads no file. Throws `E_EXISTS` without `force`, `E_FILE`. */
export async function writeLoader(
  module: string,
  o: { readonly inline: boolean; readonly force: boolean }
): Promise<void> {
  const bytes = toArray(fileBytes(module))
  const note = noteOf(bytes)
  const [js, types] = loaderPaths(module)
  const from = o.inline ? { inline: Buffer.from(bytes).toString('base64') } : { file: basename(module) }
  const text = (t: string): Uint8Array => new TextEncoder().encode(t)
  await writeAtomic(js, [text(loaderOf(note, from))], { force: o.force })
  await writeAtomic(types, [text(loaderTypes(note))], { force: o.force })
}
