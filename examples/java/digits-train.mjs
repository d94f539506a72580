/** The digits to train on, for networks of DL4J. */
import { digits } from '../demo/digits.mjs'

export default digits({ heldOut: false, name: 'input' })
