/** What a file that is no model of ours looks like, and what to do about it. */

interface Likeness {
  /** Start of the content, as Latin-1; dots stand for any byte. */
  readonly start: string
  readonly kind: string
  readonly hint?: string
}

const exported = 'export the network as ONNX where it was trained'
const fetched = 'the download failed: fetch the file itself'

const likenesses: readonly Likeness[] = [
  { start: 'version https://git-lfs', kind: 'a pointer of Git LFS', hint: 'git lfs pull' },
  { start: '<!DOCTYPE', kind: 'a web page', hint: fetched },
  { start: '<!doctype', kind: 'a web page', hint: fetched },
  { start: '<html', kind: 'a web page', hint: fetched },
  {
    start: '....ORTM',
    kind: 'a model in ONNX Runtime’s own format',
    hint: 'it runs, and cannot be read: take the ONNX file that it was made of'
  },
  { start: '\x89HDF', kind: 'an HDF5 file, as of Keras', hint: exported },
  { start: 'PK\x03\x04', kind: 'a zip archive, as of PyTorch, Keras or numpy', hint: exported },
  { start: '\x80\x02', kind: 'a Python pickle', hint: exported },
  { start: '\x1f\x8b', kind: 'a gzip file', hint: 'gunzip it first' },
  { start: '\x93NUMPY', kind: 'a numpy array' },
  { start: '\xff\xd8\xff', kind: 'a JPEG picture' },
  { start: '\x89PNG', kind: 'a PNG picture' }
]

/** The first likeness of a file's first bytes. */
export function likenessOf(head: Uint8Array): Omit<Likeness, 'start'> | undefined {
  return likenesses.find(({ start }) =>
    Array.from(start).every((c, i) => c === '.' || c.charCodeAt(0) === (head[i] ?? -1))
  )
}
