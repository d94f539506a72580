/** The digits that are held out, for networks of DL4J, whose input has no name of its own. */
import { digits } from '../demo/digits.mjs'

export default digits({ heldOut: true, name: 'input' })
