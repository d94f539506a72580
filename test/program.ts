/** The built program as a user starts it, and the files of arrays that it reads. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { zipSync } from 'fflate'

export const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
export const isBuilt = existsSync(program)

export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

export interface Running {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly uid?: number
  /** The program that runs; the built one of this folder by default. */
  readonly program?: string
  /** Words before the program's own, such as a shell that sets limits. */
  readonly through?: readonly string[]
  /** Called once it runs; may end it. */
  watch?(child: { kill(signal: NodeJS.Signals): boolean }, heard: (text: RegExp) => Promise<void>): void
}

/** Runs `pare` to its end. */
export function pare(args: readonly string[], o: Running): Promise<Ended> {
  const { NODE_OPTIONS: _, FORCE_COLOR: _colour, ...env } = process.env
  const [first = '', ...rest] = [...(o.through ?? []), process.execPath, o.program ?? program, ...args]
  return new Promise((resolve, reject) => {
    const child = spawn(first, rest, {
      cwd: o.cwd,
      env: { ...env, ...o.env },
      ...(o.uid === undefined ? {} : { uid: o.uid, gid: o.uid })
    })
    let [out, err] = ['', '']
    const waiting = new Map<RegExp, () => void>()
    const tell = (): void => {
      for (const [text, then] of waiting) if (text.test(out + err)) then()
    }
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString()
      tell()
    })
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString()
      tell()
    })
    child.on('error', reject)
    child.on('close', (status, signal) => resolve({ status, signal, out, err }))
    o.watch?.(child, (text) => new Promise((then) => waiting.set(text, then)))
  })
}

/** A `.npy` file. `descr`: numpy's name of the element type, such as `<f4`. */
export function npy(descr: string, shape: readonly number[], values: ArrayBufferView): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.map((d) => `${d},`).join(' ')}), }`
  const padded = `${header}${' '.repeat(63 - ((10 + header.length) % 64))}\n`
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]
  return new Uint8Array(
    Buffer.concat([
      Buffer.from(magic),
      Buffer.from(padded, 'latin1'),
      Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    ])
  )
}

/** A `.npz` file of float32 samples `x` and int64 labels `y`. */
export function npz(shape: readonly number[], x: Float32Array, y: readonly number[]): Uint8Array {
  const labels = BigInt64Array.from(y, (label) => BigInt(label))
  return zipSync({ 'x.npy': npy('<f4', shape, x), 'y.npy': npy('<i8', [y.length], labels) })
}
