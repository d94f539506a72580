/** What is written beside compiled code: the loader of a module and its types, the header of C source. */
import { basename, extname } from 'node:path'
import { toArray } from '../base/bytes.ts'
import { cutOf, headerOf, loaderOf, loaderTypes, noteOf, pageOf } from '../compile/index.ts'
import { fileBytes, readText, writeAtomic } from './files.ts'

const stem = (path: string): string => path.slice(0, path.length - extname(path).length)
const isSource = (path: string): boolean => extname(path) === '.c'

/** What is written beside a module besides its loader. */
export interface Beside {
  /** The loader holds the module, and reads no file. */
  readonly inline?: boolean
  /** A page too that holds the module and runs it. */
  readonly page?: boolean
}

/** `model.wasm`: `model.js` and `model.d.ts`, and `model.html` where a page is asked for; `model.c`: `model.h`. */
export const besideOf = (path: string, { page = false }: Beside): readonly string[] =>
  (isSource(path) ? ['.h'] : ['.js', '.d.ts', ...(page ? ['.html'] : [])]).map((ending) => `${stem(path)}${ending}`)

/** Throws `E_EXISTS` without `force`, `E_FILE`. */
export async function writeBeside(path: string, o: Beside & { readonly force: boolean }): Promise<void> {
  const texts = isSource(path) ? [headerOf(readText(path)) ?? ''] : loader(path, o)
  for (const [i, file] of besideOf(path, o).entries())
    await writeAtomic(file, [new TextEncoder().encode(texts[i])], { force: o.force })
}

function loader(path: string, { inline = false }: Beside): readonly string[] {
  const bytes = toArray(fileBytes(path))
  const note = noteOf(bytes)
  const cut = cutOf(bytes)
  const variants = cut ? { variants: { cut, length: bytes.length } } : {}
  const base64 = Buffer.from(bytes).toString('base64')
  return [
    loaderOf(note, { ...(inline ? { inline: base64 } : { file: basename(path) }), ...variants }),
    loaderTypes(note),
    pageOf(note, basename(stem(path)), { inline: base64, ...variants })
  ]
}
