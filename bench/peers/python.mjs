/** The Python environment of the peers, in a folder that git and every checker leave alone. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const folder = fileURLToPath(new URL('../../node_modules/.cache/peers', import.meta.url))
const interpreter = fileURLToPath(new URL('../../node_modules/.cache/peers/bin/python', import.meta.url))

/** Its interpreter, or what PARE_PEERS_PYTHON names; `undefined` where there is neither. */
export const findPython = () => process.env.PARE_PEERS_PYTHON ?? (existsSync(interpreter) ? interpreter : undefined)

/** Makes the environment, with the packages of a list. `undefined`, with the reason on standard error, where that cannot be done. */
export async function install(list = 'requirements.txt') {
  const requirements = fileURLToPath(new URL(list, import.meta.url))
  for (const [command, ...args] of [
    ['python3', '-m', 'venv', folder],
    [interpreter, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]
  ]) {
    const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
    if (status === 0) continue
    console.error(`the peers are skipped: ${error?.message ?? `${command} ${args[1]} ended with status ${status}`}`)
    return undefined
  }
  return interpreter
}
