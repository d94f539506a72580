/**
 * Who may import whom: the table of docs/architecture.md. `base/`, `types.ts` and the `types.ts` of every room are free to all.
 * `runtime/batches` is a single file: how data is cut for a model is asked by all that run models, while the runtime
 * itself, and the formats it writes, are only for what opens them.
 */
const rooms = {
  base: [],
  ir: [],
  ops: ['ir'],
  targets: ['ir'],
  report: ['ir'],
  data: ['ir'],
  compile: ['ir', 'ops'],
  formats: ['ir', 'ops', 'compile'],
  runtime: ['ir', 'ops', 'formats', 'compile'],
  measure: ['ir', 'ops', 'data', 'runtime/batches'],
  observe: ['ir', 'ops', 'data', 'runtime/batches'],
  train: ['ir', 'ops', 'data', 'runtime/batches'],
  passes: ['ir', 'ops', 'data', 'observe', 'runtime/batches', 'train'],
  serve: ['ir', 'report'],
  search: ['ir', 'ops', 'data', 'runtime/batches', 'observe', 'train', 'passes', 'measure', 'targets'],
  federate: ['ir', 'ops', 'data', 'formats', 'runtime/batches', 'train', 'passes', 'measure']
}
const core = Object.keys(rooms)
const top = { node: core, cli: [...core, 'node'] }

/** Folders of passes/quantize/; each may import itself and those before it. */
const quantize = ['common', 'bias', 'equalize', 'cast', 'static', 'dynamic', 'weights', 'round', 'mix']

const rule = (room, allowed) => ({
  name: `${room}-imports`,
  comment: `${room}/ may import: types.ts of any room, base/${allowed.map((r) => `, ${r}`).join('')}`,
  severity: 'error',
  from: { path: `^src/${room}/`, pathNot: '\\.test\\.ts$' },
  to: {
    path: '^src/',
    pathNot: `^src/(types\\.ts$|\\w+/types\\.ts$|(${['base', room, ...allowed].join('|')})(/|\\.ts$)${top[room] ? '|index\\.ts$' : ''})`
  }
})

module.exports = {
  forbidden: [
    ...Object.entries({ ...rooms, ...top }).map(([room, allowed]) => rule(room, allowed)),
    ...quantize.map((folder, i) => ({
      name: `quantize-${folder}-imports`,
      comment: `quantize/${folder}/ may import, of quantize/: ${quantize.slice(0, i + 1).join(', ')}`,
      severity: 'error',
      from: { path: `^src/passes/quantize/${folder}/`, pathNot: '\\.test\\.ts$' },
      to: { path: '^src/passes/quantize/', pathNot: `^src/passes/quantize/(${quantize.slice(0, i + 1).join('|')})/` }
    })),
    {
      name: 'batches-imports',
      comment: 'runtime/batches.ts may import, of the rooms, base/ and ir/: whoever cuts data imports no format',
      severity: 'error',
      from: { path: '^src/runtime/batches\\.ts$' },
      to: { path: '^src/', pathNot: '^src/(types\\.ts$|\\w+/types\\.ts$|base/|ir/)' }
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: { pathNot: '\\.test\\.ts$' },
      to: { circular: true }
    },
    {
      name: 'core-is-portable',
      comment: 'only node/ and cli/ may import node:* or packages with native code',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(node|cli)/|\\.test\\.ts$' },
      to: {
        path: '^(node:.*|fs|path|os|worker_threads|child_process|onnxruntime-node|onnxruntime-web|sharp)$|node_modules/(onnxruntime-|sharp)'
      }
    }
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'default'] }
  }
}
