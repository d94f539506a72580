/**
 * The file's own metadata ⇄ Model.meta, and its header ⇄ Model.origin. Keys `pare.*` of the metadata hold what ONNX has
 * no place for: which zeros are meant (`pare.sparse`) and how constants are spelled (`pare.form`).
 */
import { create } from '@bufbuild/protobuf'
import { type ModelProto, StringStringEntryProtoSchema } from 'onnx-buf'
import { PareError } from '../../base/errors.ts'
import { mapGraphs } from '../../ir/edit.ts'
import { allGraphs } from '../../ir/graph.ts'
import type { Form, Model, Origin, Value } from '../../types.ts'
import { toInt64 } from './attributes.ts'
import { isStructural } from './forms.ts'

/** Name of the format, in `Format` and `Origin`. */
export const formatName = 'onnx'

/** Header fields that are text; `Origin.header` has them under the same names, and `modelVersion` in digits. */
const headers = ['producerName', 'producerVersion', 'domain', 'docString'] as const

/** What the file says of itself. `opset`: that of the file. */
export function readMeta(p: ModelProto, opset: number): Pick<Model, 'meta'> & { readonly origin: Origin } {
  const texts = headers.flatMap((name) => (p[name] === '' ? [] : [[name, p[name]] as const]))
  const version = p.modelVersion === 0n ? [] : [['modelVersion', String(p.modelVersion)] as const]
  return {
    meta: Object.fromEntries(p.metadataProps.map((e) => [e.key, e.value])),
    origin: { format: formatName, version: opset, header: Object.fromEntries([...texts, ...version]) }
  }
}

/** Header fields and metadata of a model about to be written. */
export function writeMeta(
  model: Model
): Pick<ModelProto, 'producerName' | 'producerVersion' | 'domain' | 'docString' | 'modelVersion' | 'metadataProps'> {
  const header = model.origin?.format === formatName ? (model.origin.header ?? {}) : {}
  const version = header['modelVersion'] ?? '0'
  const entries = Object.entries(model.meta).filter(([key]) => !Object.hasOwn(marks, key))
  const own = Object.keys(marks).flatMap((key) => {
    const spelled = spellMarks(model, key as keyof typeof marks)
    return spelled === undefined ? [] : [[key, spelled] as const]
  })
  return {
    producerName: header['producerName'] ?? 'pare',
    producerVersion: header['producerVersion'] ?? '',
    domain: header['domain'] ?? '',
    docString: header['docString'] ?? '',
    modelVersion: /^-?\d{1,15}$/.test(version) ? toInt64(Number(version)) : 0n,
    metadataProps: [...entries, ...own].map(([key, v]) =>
      create(StringStringEntryProtoSchema, { key, value: typeof v === 'string' ? v : base64(v) })
    )
  }
}

const base64 = (bytes: Uint8Array): string => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''))

/** Marks on values, spelled `{"mark":["id",…]}`. */
const marks = {
  'pare.sparse': {
    of: (v: Value): string | undefined => v.sparse,
    allowed: ['any', '2:4', '4:8', '1x4', '4x1', '1x16', '4x4'],
    set: (v: Value, mark: string): Value => ({ ...v, sparse: mark as NonNullable<Value['sparse']> })
  },
  'pare.form': {
    of: (v: Value): string | undefined => (v.data && !isStructural(v) ? v.form : undefined),
    allowed: ['plain', 'foldable', 'palette', 'gap', 'bitmap', 'blocks', 'qdq', 'nbits', 'auto'],
    set: (v: Value, mark: string): Value => ({ ...v, form: mark as Form })
  }
} as const

function spellMarks(model: Model, key: keyof typeof marks): string | undefined {
  const ids = new Map<string, string[]>()
  for (const g of allGraphs(model))
    for (const v of g.values.values()) {
      const mark = marks[key].of(v)
      if (mark === undefined) continue
      const list = ids.get(mark) ?? []
      list.push(v.id)
      ids.set(mark, list)
    }
  return ids.size === 0
    ? undefined
    : JSON.stringify(Object.fromEntries([...ids].sort().map(([mark, all]) => [mark, all.sort()])))
}

/** Puts the marks in the metadata back on the values and takes them out of the metadata. */
export function restoreMarks(model: Model): Model {
  const found = new Map<string, ((v: Value) => Value)[]>()
  for (const [key, { allowed, set }] of Object.entries(marks)) {
    const spelled = Object.hasOwn(model.meta, key) ? model.meta[key] : undefined
    if (typeof spelled !== 'string') continue
    for (const [mark, ids] of Object.entries(parseMarks(spelled, key))) {
      if (!(allowed as readonly string[]).includes(mark)) continue
      for (const id of ids) found.set(id, [...(found.get(id) ?? []), (v) => set(v, mark)])
    }
  }
  const meta = Object.fromEntries(Object.entries(model.meta).filter(([key]) => !Object.hasOwn(marks, key)))
  if (found.size === 0) return { ...model, meta }
  const marked = mapGraphs(model, (graph) => {
    const values = new Map(graph.values)
    for (const v of graph.values.values()) {
      const sets = v.data ? found.get(v.id) : undefined
      if (sets)
        values.set(
          v.id,
          sets.reduce((w, set) => set(w), v)
        )
    }
    return { ...graph, values }
  })
  return { ...marked, meta }
}

function parseMarks(spelled: string, key: string): Record<string, string[]> {
  let parsed: unknown
  try {
    parsed = JSON.parse(spelled)
  } catch (cause) {
    throw new PareError('E_FORMAT', `metadata ${key} is not JSON`, { cause })
  }
  const isOk =
    typeof parsed === 'object' &&
    parsed !== null &&
    Object.values(parsed).every((ids) => Array.isArray(ids) && ids.every((id) => typeof id === 'string'))
  if (!isOk) throw new PareError('E_FORMAT', `metadata ${key} does not list values`)
  return parsed as Record<string, string[]>
}
