/** TensorFlow.js beside the Python environment of the peers. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { folder } from './python.mjs'

const pinned = '@tensorflow/tfjs@4.22.0'

export const tfjsFolder = join(folder, 'node_modules/@tensorflow/tfjs')

/** The reason goes to standard error where it cannot be installed. */
export function installTfjs() {
  mkdirSync(folder, { recursive: true })
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel', 'error']
  const { status, error } = spawnSync('npm', ['install', '--prefix', folder, ...quiet, pinned], {
    cwd: folder,
    stdio: 'inherit'
  })
  if (status !== 0) console.error(`tfjs is skipped: ${error?.message ?? `npm ended with status ${status}`}`)
}
