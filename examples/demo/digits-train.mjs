/** A dataset module: the digits that the demo's network is trained on. */
import { digits } from './digits.mjs'

export default digits({ heldOut: false })
