/** Models in the text form that `text.ts` describes. */
import type { Attr, DType, Graph, Model, Tensor, ValueType } from '../types.ts'
import { elementCount, isFloat, tensor, toNumbers, typedValues } from './tensor.ts'

/** Element types as the text form spells them; others by their name. */
export const short: Partial<Record<DType, string>> = {
  float32: 'f32',
  float64: 'f64',
  float16: 'f16',
  bfloat16: 'bf16',
  int64: 'i64',
  int32: 'i32',
  int16: 'i16',
  int8: 'i8',
  int4: 'i4',
  int2: 'i2',
  uint64: 'u64',
  uint32: 'u32',
  uint16: 'u16',
  uint8: 'u8',
  uint4: 'u4',
  uint2: 'u2'
}
/** `f32[N,3]`, `seq(f32[?])`, `?` */
export function printType(t: ValueType | undefined): string {
  if (!t) return '?'
  if (t.type === 'sequence') return `seq(${printType(t.of)})`
  if (t.type === 'optional') return `opt(${printType(t.of)})`
  if (t.type === 'opaque') return 'opaque'
  if (!t.dtype) return '?'
  return `${short[t.dtype] ?? t.dtype}${t.shape ? `[${t.shape.join(',')}]` : ''}`
}

/** The text form of a model. */
export function print(model: Model): string {
  const lines = [`opset ${model.opset}`]
  for (const [name, version] of Object.entries(model.domains)) lines.push(`domain ${name} ${version}`)
  return `${[...lines, ...printGraph(model.graph, '')].join('\n')}\n`
}

function printGraph(graph: Graph, indent: string): string[] {
  const lines: string[] = []
  const declared = new Set<string>()
  const read = new Set(graph.nodes.flatMap((n) => n.inputs))
  const typed = (id: string): string => `${name(id)}: ${printType(graph.values.get(id))}`
  for (const id of graph.inputs) lines.push(`${indent}input ${typed(id)}${literal(graph.values.get(id)?.data)}`)
  // One that only graphs inside nodes read, or that is an output, has no place where it is first read.
  for (const v of graph.values.values())
    if (v.data && (elementCount(v.data.shape) <= 8 || !read.has(v.id)) && !graph.inputs.includes(v.id)) {
      lines.push(`${indent}const ${typed(v.id)}${literal(v.data)}`)
      declared.add(v.id)
    }
  for (const n of graph.nodes) {
    const args = n.inputs.map((id) => {
      if (id === null) return '_'
      if (!graph.values.get(id)?.data || declared.has(id) || graph.inputs.includes(id)) return name(id)
      declared.add(id)
      return typed(id)
    })
    for (const [key, a] of Object.entries(n.attrs)) args.push(`${key}=${printAttr(a, indent)}`)
    const outs = n.outputs.map((id) => (id ? (graph.values.get(id)?.dtype ? typed(id) : name(id)) : '_'))
    lines.push(
      `${indent}${outs.join(', ')} = ${n.domain === undefined ? '' : `${n.domain}:`}${n.op}(${args.join(', ')})`
    )
  }
  lines.push(`${indent}output ${graph.outputs.map(name).join(', ')}`)
  return lines
}

/** A string as JSON, with everything escaped that a terminal obeys or that changes the direction of text. */
const quoted = (text: string): string =>
  JSON.stringify(text).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`
  )

const name = (id: string): string => (/^[A-Za-z_][\w.]*$/.test(id) && id !== '_' ? id : quoted(id))

function literal(t: Tensor | undefined): string {
  if (!t || t.dtype.startsWith('complex') || elementCount(t.shape) === 0) return ''
  if (t.strings) return ` = ${t.strings.map((s) => quoted(s)).join(', ')}`
  return elementCount(t.shape) <= 8 ? ` = ${elements(t).join(', ')}` : ''
}

export const isWide = (dtype: DType | undefined): boolean => dtype === 'int64' || dtype === 'uint64'

function elements(t: Tensor): string[] {
  if (isWide(t.dtype)) return Array.from(typedValues(t) as BigInt64Array, String)
  return Array.from(toNumbers(t), (x) => (isFloat(t.dtype) ? spell(x, t.dtype) : String(x)))
}

/** The fewest digits that the type reads as the same number. */
function spell(x: number, dtype: DType): string {
  if (Object.is(x, -0)) return '-0'
  // 16 digits tell 64 bits as JavaScript spells them; 9 are enough for 32 bits.
  for (let digits = 1; dtype !== 'float64' && digits <= 9; digits++) {
    const short = Number(x.toPrecision(digits))
    if (toNumbers(tensor(dtype, [], [short]))[0] === x) return String(short)
  }
  return String(x)
}

/** Attributes are float32. */
const spellFloat = (x: number): string => {
  const s = spell(Math.fround(x), 'float32')
  return /[.eN]|Inf/.test(s) ? s : `${s}.0`
}

function printAttr(a: Attr, indent: string): string {
  switch (a.kind) {
    case 'int':
      return String(a.value)
    case 'float':
      return spellFloat(a.value)
    case 'string':
      return quoted(a.value)
    case 'ints':
      return `[${a.value.join(',')}]`
    case 'floats':
      return `[${a.value.map(spellFloat).join(',')}]`
    case 'strings':
      return `[${a.value.map((s) => quoted(s)).join(',')}]`
    case 'tensor':
      return `${short[a.value.dtype] ?? a.value.dtype}[${a.value.shape.join(',')}]${literal(a.value)}`
        .replace(' = ', '{')
        .replace(/(\{.*)$/, '$1}')
    case 'graph':
      return `{\n${printGraph(a.value, `${indent}  `).join('\n')}\n${indent}}`
    case 'type':
      return `type(${printType(a.value)})`
    default:
      return `<${a.kind}>`
  }
}
