/** A program as one C file, which holds the text of its header too. */
import type { Routine } from '../../ir/loops.ts'
import type { DType } from '../../types.ts'
import type { Port, Program } from '../program.ts'
import { calledBy } from '../shared.ts'
import { preludeOfCodes } from './codes.ts'
import { prelude } from './prelude.ts'
import { printC } from './print.ts'

const cTypes: Readonly<Partial<Record<DType, string>>> = {
  float32: 'float',
  int64: 'int32_t',
  int32: 'int32_t',
  bool: 'uint8_t',
  uint8: 'uint8_t',
  int8: 'int8_t'
}

/** A name as C takes it; what it does not take becomes `_`. */
export const identifier = (name: string): string => name.replace(/\W/g, '_').replace(/^(?=\d|$)/, '_')

const marks = ['/* header begins */', '/* header ends */'] as const

/** The header of a file that `cOf` made; `undefined` of any other text. */
export function headerOf(source: string): string | undefined {
  const [from, to] = marks.map((m) => source.indexOf(m)) as [number, number]
  return from < 0 || to < from ? undefined : source.slice(from + marks[0].length + 1, to)
}

/** `name`: of the model in C, a prefix of all that is visible. */
export function cOf(program: Program, name: string): string {
  const ports = named(
    [...program.inputs.map((p) => ['input', p] as const), ...program.outputs.map((p) => ['output', p] as const)],
    name
  )
  const called = calledBy(program.routines)
  const nameOf = (r: Routine): string => `${r.name}${called.indexOf(r)}`
  const functions = [
    ...called.routines.map((r) => printC({ ...r, name: nameOf(r) }, nameOf)),
    ...program.routines.map((r) => printC(r, nameOf))
  ]
  const bytes = new Uint8Array(Math.ceil(program.constants.length / 8) * 8)
  bytes.set(program.constants)
  const words = new BigUint64Array(bytes.buffer)
  return [
    `/* Made by pare compile: ${program.constants.length} bytes of constants, ${program.arena} bytes of memory. Little-endian. */`,
    marks[0],
    header(ports, name) + marks[1],
    '',
    prelude + (functions.some((f) => f.includes('whole4_')) ? preludeOfCodes : ''),
    `static const uint64_t constants[] = {\n${hex(words)}};`,
    `static uint64_t values[${Math.ceil(program.arena / 8)}];`,
    '',
    ...functions,
    ...ports.map(
      ({ symbol, type, port }) => `${type} *${symbol}(void) { return (${type} *)((byte *)values + ${port.offset}); }`
    ),
    '',
    `void ${name}_run(void) {`,
    ...program.routines.map((r) => `  ${r.name}();`),
    '}',
    ''
  ].join('\n')
}

function header(ports: readonly Named[], name: string): string {
  const guard = `${name.toUpperCase()}_H`
  return [
    `/* Write the inputs, call ${name}_run, read the outputs. Memory is static: one run at a time. */`,
    `#ifndef ${guard}`,
    `#define ${guard}`,
    '#include <stdint.h>',
    '',
    '#ifdef __cplusplus',
    'extern "C" {',
    '#endif',
    '',
    ...ports.flatMap(({ symbol, type, port }) => [
      `/* ${port.name.replace(/\*\//g, '* /')}: [${port.shape.join(', ')}] */`,
      `#define ${symbol.toUpperCase()}_COUNT ${port.shape.reduce((n, d) => n * d, 1)}`,
      `${type} *${symbol}(void);`
    ]),
    '',
    `void ${name}_run(void);`,
    '',
    '#ifdef __cplusplus',
    '}',
    '#endif',
    '#endif',
    ''
  ].join('\n')
}

interface Named {
  readonly symbol: string
  readonly type: string
  readonly port: Port
}

/** Names in C of inputs and outputs, numbered where two would be the same. */
function named(ports: readonly (readonly [kind: string, port: Port])[], model: string): readonly Named[] {
  const taken = new Set<string>()
  return ports.map(([kind, port]) => {
    const wanted = `${model}_${kind}_${identifier(port.name)}`
    let symbol = wanted
    for (let i = 2; taken.has(symbol); i++) symbol = `${wanted}_${i}`
    taken.add(symbol)
    return { symbol, type: cTypes[port.dtype] ?? 'float', port }
  })
}

/** Wide numbers, as compilers take time for each. */
function hex(words: BigUint64Array): string {
  const out: string[] = []
  for (let i = 0; i < words.length; i += 8)
    out.push([...words.subarray(i, i + 8)].map((w) => (w < 10n ? `${w}` : `0x${w.toString(16)}`)).join(','))
  return out.join(',\n')
}
