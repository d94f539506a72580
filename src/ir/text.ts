/**
 * The text form of a model, for tests, snapshots and `pare inspect --graph`. One statement a line:
 *
 *   opset 21                                   domain com.microsoft 1
 *   input x: f32[N,3,8,8]                      output y, z
 *   const s: f32[2] = 0.5, 2                   (without values: small seeded numbers, or ones and zeros where asked)
 *   y: f32[N,4,8,8] = Conv(x, W: f32[4,3,3,3], strides=[1,1])
 *   z, _ = com.microsoft:Foo(y, _, alpha=0.5)
 *   r = If(c, then_branch={ a = Relu(y); output a }, else_branch={ output y })
 *
 * A constant may be declared where it is first read. Whole numbers are int attributes, numbers with a point or an
 * exponent floats. Printing (`print.ts`) spells numbers so that they are read as the same bits, and leaves out the values of constants
 * above 8 elements.
 */
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import type { Attr, Dim, DType, Graph, Model, Node, Tensor, Value, ValueType } from '../types.ts'
import { defaultOpset } from './build.ts'
import { isWide, short } from './print.ts'
import { dtypeNames, elementCount, isFloat, tensor } from './tensor.ts'

const long = new Map<string, DType>(dtypeNames.flatMap((d) => [[d, d] as const, [short[d] ?? d, d] as const]))

/** Reads the text form. Throws `E_FORMAT` with line and column. Unnamed facts get defaults: opset 21, seeded constants. */
export function parse(text: string): Model {
  const p = new Parser(text)
  const domains: Record<string, number> = {}
  let opset = defaultOpset
  while (p.word('opset') || p.word('domain')) {
    if (p.last === 'opset') opset = p.integer()
    else domains[p.take(/[\w.-]+/y, 'a domain')] = p.integer()
  }
  const graph = p.graph('graph')
  p.end()
  return { graph, opset, domains, meta: {} }
}

/** A template tag for models in tests. */
export function model(strings: TemplateStringsArray, ...values: readonly unknown[]): Model {
  return parse(String.raw({ raw: strings }, ...values))
}

/** Elements of all constants of a text, and graphs inside graphs. */
const maxElements = 2 ** 27
const maxDepth = 256

class Parser {
  last = ''
  private elements = 0
  private depth = 0
  private at = 0
  private readonly text: string
  constructor(text: string) {
    this.text = text
  }

  /** One graph's statements, up to the end or a closing brace. */
  graph(graphName: string): Graph {
    const inputs: string[] = []
    const nodes: Node[] = []
    const values = new Map<string, Value>()
    const outputs: string[] = []
    if (++this.depth > maxDepth) throw new PareError('E_LIMIT', `more than ${maxDepth} graphs inside each other`)
    for (this.skip(); this.at < this.text.length && this.text[this.at] !== '}'; this.skip()) {
      if (this.word('input')) inputs.push(this.declare(values, false))
      else if (this.word('const')) this.declare(values, true)
      else if (this.word('output')) this.list(() => outputs.push(this.output(outputs)))
      else nodes.push(this.node(values, nodes.length))
    }
    this.depth--
    return { name: graphName, inputs, outputs, nodes, values }
  }

  end(): void {
    this.skip()
    if (this.at < this.text.length) this.fail('the end')
  }

  word(w: string): boolean {
    this.skip()
    if (!this.text.startsWith(`${w} `, this.at)) return false
    this.at += w.length + 1
    this.last = w
    return true
  }

  integer(): number {
    return Number(this.take(/-?\d+/y, 'a whole number'))
  }

  take(pattern: RegExp, what: string): string {
    const found = this.maybe(pattern)
    return found ?? this.fail(what)
  }

  private output(known: readonly string[]): string {
    const id = this.id()
    if (known.includes(id)) this.twice(`output ${id}`)
    return id
  }

  private declare(values: Map<string, Value>, isConstant: boolean): string {
    const id = this.newId(values)
    this.take(/:/y, 'a colon')
    const type = this.type()
    const given = this.maybe(/=/y) ? this.given(type) : undefined
    if (given || isConstant) values.set(id, { ...type, id, data: this.fill(id, type, given) })
    else values.set(id, { ...type, id })
    return id
  }

  private node(values: Map<string, Value>, count: number): Node {
    const outputs = this.list(() => {
      if (this.maybe(/_(?![\w.])/y)) return ''
      const id = this.newId(values)
      const type: ValueType = this.maybe(/:/y) ? this.type() : { type: 'tensor' }
      values.set(id, { ...type, id })
      return id
    })
    this.take(/=/y, '=')
    const called = this.take(/(?:[\w.-]+:)?\w+/y, 'an operator')
    const [op, domain] = called.includes(':') ? (called.split(':').reverse() as [string, string]) : [called, undefined]
    this.take(/\(/y, '(')
    const inputs: (string | null)[] = []
    const attrs: Record<string, Attr> = {}
    while (!this.maybe(/\)/y)) {
      const key = this.maybe(/\w+(?==)/y)
      if (key !== undefined) {
        this.take(/=/y, '=')
        attrs[key] = this.attr()
      } else inputs.push(this.argument(values))
      this.maybe(/,/y)
    }
    return { name: `${op}_${count}`, op, ...(domain === undefined ? {} : { domain }), inputs, outputs, attrs }
  }

  private argument(values: Map<string, Value>): string | null {
    if (this.maybe(/_(?![\w.])/y)) return null
    const id = this.id()
    if (!this.maybe(/:/y)) return id
    if (values.has(id)) this.twice(id)
    const type = this.type()
    const given = this.maybe(/\{/y) ? this.given(type) : undefined
    if (given) this.take(/\}/y, '}')
    values.set(id, { ...type, id, data: this.fill(id, type, given) })
    return id
  }

  private attr(): Attr {
    if (this.maybe(/\{/y)) {
      const value = this.graph('subgraph')
      this.take(/\}/y, '}')
      return { kind: 'graph', value }
    }
    if (this.maybe(/type\(/y)) {
      const value = this.type()
      this.take(/\)/y, ')')
      return { kind: 'type', value }
    }
    if (this.maybe(/\[/y)) return this.attrList()
    const text = this.string()
    if (text !== undefined) return { kind: 'string', value: text }
    const dtype = this.maybe(/[a-z]\w*(?=\[)/y)
    if (dtype !== undefined) {
      this.at -= dtype.length
      const type = this.type()
      const given = this.maybe(/\{/y) ? this.given(type) : undefined
      if (given) this.take(/\}/y, '}')
      return { kind: 'tensor', value: this.fill(dtype, type, given) }
    }
    const spelled = this.take(numberPattern, 'an attribute value')
    return /^-?\d+$/.test(spelled) ? { kind: 'int', value: Number(spelled) } : { kind: 'float', value: Number(spelled) }
  }

  private attrList(): Attr {
    const strings: string[] = []
    for (let s = this.string(); s !== undefined; s = this.string()) {
      strings.push(s)
      this.maybe(/,/y)
    }
    const items: string[] = []
    while (!this.maybe(/\]/y)) {
      if (strings.length > 0) this.fail('a string')
      items.push(this.take(numberPattern, 'an item'))
      this.maybe(/,/y)
    }
    if (strings.length > 0) return { kind: 'strings', value: strings }
    const value = items.map(Number)
    return items.every((s) => /^-?\d+$/.test(s)) ? { kind: 'ints', value } : { kind: 'floats', value }
  }

  private type(): ValueType {
    const wrapped = this.maybe(/(?:seq|opt)\(/y)
    if (wrapped !== undefined) {
      const of = this.type()
      this.take(/\)/y, ')')
      return { type: wrapped === 'seq(' ? 'sequence' : 'optional', of }
    }
    if (this.maybe(/\?/y)) return { type: 'tensor' }
    const dtype = long.get(this.take(/\w+/y, 'a type')) ?? this.fail('a type')
    if (!this.maybe(/\[/y)) return { type: 'tensor', dtype }
    const shape: Dim[] = []
    while (!this.maybe(/\]/y)) {
      const d = this.take(/[^,\]\s]+/y, 'a dimension')
      shape.push(/^-?\d+$/.test(d) ? Number(d) : d)
      this.maybe(/,/y)
    }
    return { type: 'tensor', dtype, shape }
  }

  private id(): string {
    return this.string() ?? this.take(/[A-Za-z_][\w.]*/y, 'a name')
  }

  /** A name that nothing in this graph has yet. */
  private newId(values: ReadonlyMap<string, Value>): string {
    const id = this.id()
    if (values.has(id)) this.twice(id)
    return id
  }

  /** The elements of a constant; integers of 64 bits are exact. */
  private given({ dtype }: ValueType): Given {
    if (dtype === 'string') return this.list(() => this.string() ?? this.fail('a string'))
    const spelled = this.list(() => this.take(numberPattern, 'a number'))
    if (!isWide(dtype) || !spelled.every((s) => /^-?\d+$/.test(s))) return spelled.map(Number)
    const [low, high] = dtype === 'int64' ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n]
    return spelled.map(BigInt).map((x) => (x < low ? low : x > high ? high : x))
  }

  private string(): string | undefined {
    const spelled = this.maybe(/"(?:[^"\\]|\\.)*"/y)
    try {
      return spelled === undefined ? undefined : (JSON.parse(spelled) as string)
    } catch {
      return this.fail('a string as JSON spells it')
    }
  }

  private list<T>(item: () => T): T[] {
    const out = [item()]
    while (this.maybe(/,/y)) out.push(item())
    return out
  }

  private maybe(pattern: RegExp): string | undefined {
    this.skip()
    pattern.lastIndex = this.at
    const m = pattern.exec(this.text)
    if (!m) return undefined
    this.at += m[0].length
    return m[0]
  }

  private skip(): void {
    const space = /(?:[\s;]|#[^\n]*)*/y
    space.lastIndex = this.at
    this.at += space.exec(this.text)?.[0].length ?? 0
  }

  /** Given values, or seeded ones: normal/4 for floats, 0 … 9 for others. */
  private fill(id: string, type: ValueType, given: Given | undefined): Tensor {
    if (!type.dtype || !type.shape?.every((d): d is number => typeof d === 'number' && d >= 0))
      throw new PareError('E_FORMAT', `constant ${id} needs a type with a fixed shape`)
    const n = elementCount(type.shape)
    if (given && given.length !== n)
      throw new PareError('E_FORMAT', `constant ${id} takes ${n} values, not ${given.length}`)
    if (type.dtype.startsWith('complex') || (type.dtype === 'string' && !given && n > 0))
      throw new PareError('E_FORMAT', `constant ${id} of ${type.dtype} needs values that can be spelled`)
    this.elements += n
    if (!(this.elements <= maxElements))
      throw new PareError('E_LIMIT', `constants of more than ${maxElements} elements`, { where: id })
    const random = rng(id)
    const isReal = isFloat(type.dtype)
    const drawn = (): number => (isReal ? random.normal() / 4 : random.below(10))
    return tensor(type.dtype, type.shape, given ?? Float32Array.from({ length: n }, drawn))
  }

  private fail(wanted: string): never {
    throw new PareError('E_FORMAT', `expected ${wanted} at ${this.place()}`, {
      facts: { near: this.text.slice(this.at, this.at + 40) }
    })
  }

  private twice(what: string): never {
    throw new PareError('E_FORMAT', `${what} is named a second time before ${this.place()}`, {
      hint: 'a name is declared once: as an input, a constant, or what one node makes'
    })
  }

  private place(): string {
    const before = this.text.slice(0, this.at).split('\n')
    return `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`
  }
}

type Given = readonly number[] | readonly bigint[] | readonly string[]

const numberPattern = /-?(?:Infinity|NaN|\d+(?:\.\d+)?(?:e[+-]?\d+)?)/y
