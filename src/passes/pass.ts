/** What a pass is made of: its name, and its options as a strict schema. */
import { z } from 'zod'
import type { Model } from '../types.ts'
import type { Context, Pass } from './types.ts'

export { parseOptions } from '../base/options.ts'

/** A pass whatever its options are; what lists and recipes hold. */
export type AnyPass = Pass<unknown>

export interface PassDefinition<S extends z.ZodRawShape> {
  readonly name: string
  readonly summary: string
  readonly group?: Pass['group']
  readonly needs?: Pass['needs']
  readonly uses?: Pass['uses']
  readonly after?: Pass['after']
  readonly compares?: Pass['compares']
  readonly narrows?: Pass['narrows']
  readonly lossy?: Pass['lossy']
  readonly asStored?: Pass['asStored']
  readonly promises?: Pass['promises']
  readonly beside?: Pass['beside']
  /** Fields of the options, each with a default and a `describe`. */
  readonly options: S
  run(model: Model, options: z.output<z.ZodObject<S>>, ctx: Context): Model | Promise<Model>
}

/** Makes a pass; options outside its schema are errors. */
export function definePass<S extends z.ZodRawShape>(p: PassDefinition<S>): Pass<z.output<z.ZodObject<S>>> {
  return {
    name: p.name,
    summary: p.summary,
    ...(p.group === undefined ? {} : { group: p.group }),
    needs: p.needs ?? [],
    uses: p.uses ?? [],
    after: p.after ?? [],
    compares: p.compares ?? false,
    narrows: p.narrows ?? false,
    lossy: p.lossy ?? false,
    asStored: p.asStored ?? false,
    promises: p.promises ?? false,
    ...(p.beside === undefined ? {} : { beside: p.beside }),
    options: z.strictObject(p.options) as unknown as z.ZodType<z.output<z.ZodObject<S>>>,
    run: async (model, options, ctx) => p.run(model, options, ctx)
  }
}
