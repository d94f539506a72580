/** Compiling: a model becomes a program of loops over one memory, and that a WebAssembly module. */
export { cOf, headerOf, identifier } from './c/module.ts'
export { loaderOf, loaderTypes } from './loader.ts'
export { lower } from './lower.ts'
export { moduleOf } from './module.ts'
export { pageOf } from './page.ts'
export { type Tuning, tune } from './tune.ts'
export { isWasm, type ModuleNote, noteOf, openPorts, type Ports, wasmOf, wayFor, waysToRun } from './wasm/module.ts'
export { cutOf, fastestOf, relaxedOf } from './wasm/variants.ts'
