/** One process watched from outside: how long it took, and how much memory and processor time. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

const everyMs = 10
/** Ticks a second of /proc/PID/stat, the same on every Linux. */
const ticks = 100

/**
 * Runs a command. Wall time is that of the whole process, loading its interpreter included; `peakBytes` is the largest
 * resident memory (VmHWM) and `cpuSeconds` are user and system time, both absent where there is no /proc.
 */
export function watch(command, args, { env = process.env, timeoutMs = 1_800_000 } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now()
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs })
    const seen = {}
    const look = () => Object.assign(seen, usage(child.pid))
    const timer = setInterval(look, everyMs)
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (d) => {
        output = (output + d).slice(-20_000)
      })
    child.on('error', (e) => {
      clearInterval(timer)
      reject(e)
    })
    child.on('exit', (status, signal) => {
      clearInterval(timer)
      resolve({ status, signal, seconds: (performance.now() - started) / 1000, ...seen, output: output.trim() })
    })
  })
}

/** What Linux says of a process; nothing of one that is gone. */
function usage(pid) {
  try {
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14).map(Number)
    return { ...(peak && { peakBytes: Number(peak[1]) * 1024 }), cpuSeconds: (user + system) / ticks }
  } catch (e) {
    if (e.code === 'ENOENT' || e.code === 'ESRCH') return {}
    throw e
  }
}
