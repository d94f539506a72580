/** MLServer as a peer: the same model in onnxruntime, behind the same protocol, in as many processes. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPython } from '../peers/python.mjs'

const runtime = fileURLToPath(new URL('../peers', import.meta.url))

/** An interpreter with mlserver and onnxruntime, or why there is none. */
export function peerPython() {
  const python = findPython()
  if (!python)
    return { why: 'no Python: PARE_PEERS_PYTHON names one, with bench/peers/requirements-serve.txt installed' }
  const { status, stdout, stderr } = spawnSync(
    python,
    ['-c', 'import mlserver, onnxruntime; print(mlserver.__version__, onnxruntime.__version__)'],
    { encoding: 'utf8' }
  )
  if (status !== 0) return { why: `${python}: ${stderr.trim().split('\n').at(-1)}` }
  const [mlserver, onnxruntime] = stdout.trim().split(' ')
  return { python, versions: `mlserver ${mlserver}, onnxruntime ${onnxruntime}` }
}

const freePort = () =>
  new Promise((resolve) => {
    const s = createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address()
      s.close(() => resolve(port))
    })
  })

/** Starts it; settles when the model is ready. `batch`: samples that requests are joined up to, within a millisecond. */
export async function startMlserver(python, { name, path, workers, batch }) {
  const folder = mkdtempSync(join(tmpdir(), 'pare-mlserver-'))
  const [http, grpc, metrics] = [await freePort(), await freePort(), await freePort()]
  mkdirSync(join(folder, name))
  const settings = {
    ...{ host: '127.0.0.1', http_port: http, grpc_port: grpc, metrics_port: metrics, debug: false },
    ...{ parallel_workers: workers, environments_dir: join(folder, '.envs'), metrics_dir: join(folder, '.metrics') }
  }
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings))
  writeFileSync(
    join(folder, name, 'model-settings.json'),
    JSON.stringify({
      ...{ name, implementation: 'mlserver_onnx.OnnxModel', parameters: { uri: path } },
      ...(batch ? { max_batch_size: batch, max_batch_time: 0.001 } : {})
    })
  )
  const child = spawn(python, ['-c', 'from mlserver.cli import main; main()', 'start', folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PYTHONPATH: runtime }
  })
  let said = ''
  child.stderr.on('data', (d) => {
    said = (said + d).slice(-4000)
  })
  const ended = new Promise((resolve) => child.on('exit', resolve))
  const end = async () => {
    child.kill('SIGTERM')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${http}`
  for (const until = performance.now() + 120_000; ; await new Promise((resolve) => setTimeout(resolve, 200))) {
    const reply = await fetch(`${url}/v2/models/${name}/ready`).catch(() => undefined)
    if (reply?.status === 200) return { url, pid: child.pid, end }
    if (child.exitCode === null && performance.now() < until) continue
    await end()
    throw new Error(`mlserver did not get ready: ${said}`)
  }
}
