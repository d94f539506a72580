/** Values that are codes while steps are made: in which forms they lie, and what makes one form of another. */

import type { Stmt } from '../../ir/loops.ts'
import { elementCount } from '../../ir/tensor.ts'
import type { Model } from '../../types.ts'
import { type Dots, fitsPairs } from '../kernels/dots.ts'
import {
  dequantizeMaps,
  dequantizeRows,
  flipSigns,
  type MapsShape,
  mapsBytes,
  quantizeMaps,
  quantizeRows,
  turnMaps
} from '../kernels/recode.ts'
import type { Choose } from '../kernels/tiles.ts'
import type { Places, Step } from '../steps.ts'
import { type Coded, codedOf } from './codes.ts'

/** In order; or four channels to a lane. */
export type Form = 'rows' | 'maps'

/**
 * Which products of bytes a program uses: `pairs` of 16 bits alone; `bytes` where an engine that holds two of them in 16 bits
 * computes them exactly; `all`: `bytes` wherever, for code that holds them in 32 bits.
 */
export type DotsUsed = 'pairs' | 'bytes' | 'all'

export interface IntegerSteps {
  readonly model: Model
  readonly dots: DotsUsed
  readonly choose: Choose
  /** The key of a value's codes in a form; what makes it is put among the steps where it is not there yet. */
  need(coded: Coded, form: Form): string
  /** Says that a step writes codes in a form, and gives their key. */
  made(coded: Coded, form: Form, bytes: number): string
  /** Says that a step writes floats; may take more bytes than the value has. */
  floats(id: string, bytes: number): string
  /** Says that codes in one form, or in that of other codes, are the same bytes. */
  alias(coded: Coded, form: Form, key: string): void
  /** Does a form of these codes lie there already? */
  has(coded: Coded, form: Form): boolean
}

export const dotsFor = ({ dots }: Pick<IntegerSteps, 'dots'>, quads: Int8Array): Dots =>
  dots === 'all' || (dots === 'bytes' && fitsPairs(quads)) ? 'bytes' : 'pairs'

export const mapsShape = (shape: readonly number[]): MapsShape => ({
  samples: shape[0] ?? 1,
  channels: shape[1] ?? 1,
  positions: elementCount(shape.slice(2))
})

const isOneRow = ({ samples, channels, positions }: MapsShape): boolean =>
  positions === 1 && (channels % 4 === 0 || samples === 1)

/** What steps are kept in, and what lies where. */
export interface Ledger {
  push(step: Step): void
  readonly ready: Set<string>
  readonly same: Map<string, string>
  readonly bytes: Map<string, number>
}

export interface Forms extends IntegerSteps {
  /** Puts a value there as the model means it, where it lies as codes in another form or has to be made of codes. */
  settle(id: string): void
}

export function formsOf(model: Model, dots: DotsUsed, choose: Choose, { push, ready, same, bytes }: Ledger): Forms {
  const { graph } = model
  const known = new Map<string, Coded>()
  const keyOf = ({ id }: Coded, form: Form): string => `${id}#${form}`
  const step = (what: string, from: string, to: string, code: (places: Places) => Stmt[]): void => {
    push({ nodes: [], what, reads: [from], writes: [to], scratch: 0, code })
    ready.add(to)
  }
  const forms: Forms = {
    model,
    dots,
    choose,
    has: (coded, form) => ready.has(keyOf(coded, form)),
    alias: (coded, form, key) => {
      known.set(coded.id, coded)
      same.set(keyOf(coded, form), key)
      ready.add(keyOf(coded, form))
    },
    made: (coded, form, size) => {
      known.set(coded.id, coded)
      const key = keyOf(coded, form)
      bytes.set(key, size)
      ready.add(key)
      return key
    },
    floats: (id, size) => {
      bytes.set(id, size)
      return id
    },
    need: (coded, form) => {
      const key = keyOf(coded, form)
      if (ready.has(key)) return key
      const shape = mapsShape(coded.shape)
      const count = elementCount(coded.shape)
      const other: Form = form === 'rows' ? 'maps' : 'rows'
      if (form === 'rows' && !ready.has(keyOf(coded, other))) {
        // Codes as the model has them: an input, or made by an operator that knows nothing of forms.
        known.set(coded.id, coded)
        if (coded.signed) {
          bytes.set(key, count + 16)
          step(`codes ${count} of int8`, coded.id, key, (p) => flipSigns(count, p.of(coded.id), p.of(key)))
        } else forms.alias(coded, 'rows', coded.id)
        return key
      }
      const from = forms.need(coded, other)
      if (isOneRow(shape)) forms.alias(coded, form, from)
      else {
        bytes.set(key, (form === 'maps' ? mapsBytes(shape) : count) + 16)
        step(`codes to ${form}`, from, key, (p) => turnMaps(shape, p.of(from), p.of(key), form))
      }
      return key
    },
    settle: (id) => {
      if (ready.has(id)) return
      const own = known.get(id)
      if (own) {
        const count = elementCount(own.shape)
        const rows = forms.need(own, 'rows')
        if (!own.signed) same.set(id, rows)
        else step(`codes ${count} as int8`, rows, id, (p) => flipSigns(count, p.of(rows), p.of(id)))
        ready.add(id)
        return
      }
      const coded = codedOf(graph, id)
      if (!coded) return
      const isMaps = forms.has(coded, 'maps')
      const from = forms.need(coded, isMaps ? 'maps' : 'rows')
      const { coding } = coded
      const shape = mapsShape(coded.shape)
      bytes.set(id, elementCount(coded.shape) * 4 + 32)
      step('codes to floats', from, id, (p) =>
        isMaps
          ? dequantizeMaps(shape, coding, p.of(from), p.of(id))
          : dequantizeRows(elementCount(coded.shape), coding, p.of(from), p.of(id))
      )
    }
  }
  return forms
}

/** A step that makes codes of floats, in the form that layers behind read. */
export function quantizeStep(steps: IntegerSteps, from: string, to: Coded, node: string): Step {
  const shape = mapsShape(to.shape)
  const count = elementCount(to.shape)
  const form: Form = to.shape.length > 2 && shape.channels > 2 ? 'maps' : 'rows'
  const key = steps.made(to, form, (form === 'maps' ? mapsBytes(shape) : count) + 16)
  return {
    ...{ nodes: [node], what: `floats to codes, ${to.shape.join('×')}`, reads: [from], writes: [key], scratch: 0 },
    code: (p) =>
      form === 'maps'
        ? quantizeMaps(shape, to.coding, p.of(from), p.of(key))
        : quantizeRows(count, to.coding, p.of(from), p.of(key))
  }
}
