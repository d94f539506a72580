// Reads thousands of mutated and truncated ONNX files: test/fuzz.test.ts with more runs.
// usage: node bench/fuzz.mjs [RUNS, 20000 by default]
import { spawnSync } from 'node:child_process'

const runs = process.argv[2] ?? '20000'
const { status } = spawnSync('npx', ['vitest', 'run', 'test/fuzz.test.ts'], {
  stdio: 'inherit',
  env: { ...process.env, PARE_FUZZ_RUNS: runs }
})
process.exit(status ?? 1)
