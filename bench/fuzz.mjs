// Reads thousands of mutated and truncated files, ONNX and TensorFlow Lite: test/fuzz*.test.ts with more runs.
// usage: node bench/fuzz.mjs [RUNS, 20000 by default]
import { spawnSync } from 'node:child_process'

const runs = process.argv[2] ?? '20000'
const { status } = spawnSync('npx', ['vitest', 'run', 'test/fuzz'], {
  stdio: 'inherit',
  env: { ...process.env, PARE_FUZZ_RUNS: runs }
})
process.exit(status ?? 1)
