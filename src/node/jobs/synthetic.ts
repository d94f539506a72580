/** Seeded inputs for models without data: enough to run and time them, never to judge accuracy. */
import type { Rng } from '../../base/random.ts'
import { arrayDataset, type LabelledDataset } from '../../data/arrays.ts'
import { elementCount, isFloat, tensor } from '../../ir/tensor.ts'
import type { Dim, Session, Tensor } from '../../types.ts'

const openSide = 224
const openLength = 16

/** `size` samples for every input: normal floats, and zeros and ones for other types. Open sides of pictures are 224, others 16. */
export function syntheticDataset(inputs: Session['inputs'], random: Rng, size: number): LabelledDataset {
  const filled = inputs.map((input) => [input.name, fill(input, random.fork(input.name), size)] as const)
  return arrayDataset({ inputs: Object.fromEntries(filled) })
}

function fill(input: Session['inputs'][number], random: Rng, size: number): Tensor {
  const dtype = input.dtype ?? 'float32'
  const [, ...rest] = input.shape ?? []
  const shape = [size, ...rest.map((d, i) => sideOf(d, i, rest.length))]
  const draw = isFloat(dtype) ? () => random.normal() : () => random.below(2)
  return tensor(dtype, shape, Array.from({ length: elementCount(shape) }, draw))
}

/** A note where sizes of the inputs were guessed: times and layers are those of one size among many. */
export function guessedSizes(inputs: Session['inputs']): string[] {
  return inputs.flatMap(({ name, shape }) => {
    const [, ...rest] = shape ?? []
    if (rest.every((d) => typeof d === 'number')) return []
    const taken = rest.map((d, i) => sideOf(d, i, rest.length)).join(', ')
    return [
      `input ${name} is of any size [${shape?.join(', ')}]: [N, ${taken}] was taken; give --data for the real one`
    ]
  })
}

const sideOf = (d: Dim, at: number, rank: number): number =>
  typeof d === 'number' ? d : rank === 3 && at > 0 ? openSide : openLength
