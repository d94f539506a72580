/** A dataset module: 1,000 digits, to see in short that training works. */
import { digits } from '../demo/digits.mjs'

const all = digits({ heldOut: false })
const few = Array.from({ length: 1000 }, (_, i) => Math.floor((i * all.size) / 1000))

export default {
  size: few.length,
  labelled: true,
  batches: ({ batch, indices = few.map((_, i) => i) }) => all.batches({ batch, indices: indices.map((i) => few[i]) })
}
