/** A dataset module: the digits that the demo's network has never seen. */
import { digits } from './digits.mjs'

export default digits({ heldOut: true })
