import { defineConfig } from 'tsdown'
import { passList } from './src/cli/pass-list.ts'

/** Puts the list of passes in place of the module that makes it from the passes. */
const passListAsData = {
  name: 'pass-list-as-data',
  load: {
    filter: { id: /[\\/]src[\\/]cli[\\/]pass-list\.ts$/ },
    handler: () => `export const passList = ${JSON.stringify(passList)}`
  }
}

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    'node/index': 'src/node/index.ts',
    'cli/main': 'src/cli/main.ts'
  },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  dts: true,
  clean: true,
  fixedExtension: false,
  plugins: [passListAsData]
})
