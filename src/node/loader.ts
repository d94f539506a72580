/** What is written beside compiled code: the loader of a module and its types, the header of C source. */
import { basename, extname } from 'node:path'
import { toArray } from '../base/bytes.ts'
import { headerOf, loaderOf, loaderTypes, noteOf } from '../compile/index.ts'
import { fileBytes, readText, writeAtomic } from './files.ts'

const stem = (path: string): string => path.slice(0, path.length - extname(path).length)
const isSource = (path: string): boolean => extname(path) === '.c'

/** `model.wasm`: `model.js` and `model.d.ts`; `model.c`: `model.h`. */
export const besideOf = (path: string): readonly string[] =>
  (isSource(path) ? ['.h'] : ['.js', '.d.ts']).map((ending) => `${stem(path)}${ending}`)

/** `inline`: the loader holds the module, and reads no file. Throws `E_EXISTS` without `force`, `E_FILE`. */
export async function writeBeside(
  path: string,
  o: { readonly inline: boolean; readonly force: boolean }
): Promise<void> {
  const texts = isSource(path) ? [headerOf(readText(path)) ?? ''] : loader(path, o.inline)
  for (const [i, file] of besideOf(path).entries())
    await writeAtomic(file, [new TextEncoder().encode(texts[i])], { force: o.force })
}

function loader(path: string, inline: boolean): readonly string[] {
  const bytes = toArray(fileBytes(path))
  const note = noteOf(bytes)
  const from = inline ? { inline: Buffer.from(bytes).toString('base64') } : { file: basename(path) }
  return [loaderOf(note, from), loaderTypes(note)]
}
