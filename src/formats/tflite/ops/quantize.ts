/** Changes of type: quantization, casts, and constants that the file packs. */
import type { Call, Rows } from '../call.ts'

/** A constant becomes the constant that it stands for; anything else is given as it is. */
function unpacked(c: Call, isWidened = false): readonly string[] {
  const held = c.scope.heldOf(c.at(0))
  if (!held) return [c.value()]
  c.scope.hold(c.outAt(), isWidened ? { ...held, isWidened } : held)
  return []
}

/** Rounds to the codes that training assumed. Bounds are moved so that 0 is a code. */
function fakeQuantize(c: Call): string {
  const bits = c.number('num_bits', 8)
  const low = c.flag('narrow_range') ? 1 : 0
  const [min, max, top] = [c.number('min'), c.number('max'), 2 ** bits - 1]
  if (bits > 16 || bits < 2 || !(max > min)) c.refuse(`it has ${bits} bits from ${min} to ${max}`)
  const scale = (max - min) / (top - low)
  const zero = Math.min(top, Math.max(low, Math.round(low - min / scale)))
  const bounds = [c.scalar((low - zero) * scale), c.scalar((top - zero) * scale)]
  const steps = c.op('Round', [c.op('Mul', [c.op('Clip', [c.value(), ...bounds]), c.scalar(1 / scale)])])
  return c.op('Mul', [steps, c.scalar(scale)])
}

export const typeRows: Rows = {
  QUANTIZE: (c) => c.value(),
  DEQUANTIZE: (c) =>
    c.isConstant(0) ? unpacked(c, true) : c.dtype() === 'float16' ? c.cast(c.value(), c.outType()) : c.value(),
  DENSIFY: (c) => unpacked(c),
  CAST: (c) => c.cast(c.value(), c.outType()),
  FAKE_QUANT: fakeQuantize
}
