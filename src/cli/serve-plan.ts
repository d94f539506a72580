/** What a server has measured and chosen, for a terminal. */
import type { Plan } from '../node/serve/index.ts'
import { cell, columns, right, type Style } from '../report/table.ts'

/** Times of batches, what was chosen by them, and why. */
export function planText({ models, workers }: Plan, style: Style, isJson: boolean): string {
  if (isJson) return `${JSON.stringify({ workers, models: models.map(modelJson) }, null, 2)}\n`
  const lines = models.flatMap(({ name, version, tuning }) => {
    const rows = [...tuning.times].map(([b, ms]) => [
      right(String(b)),
      right(`${ms.toFixed(2)} ms`),
      right(`${(ms / b).toFixed(3)} ms`),
      cell(b === tuning.size ? 'chosen' : '', style.accent)
    ])
    const head = ['samples', 'a run', 'a sample', ''].map((t) => right(t, style.dim))
    return [
      `${style.bold(name)} ${style.dim(`version ${version}`)}`,
      ...columns([head, ...rows]),
      `  ${tuning.why}`,
      ''
    ]
  })
  const { count, why } = workers
  return `${lines.join('\n')}\n${style.bold(`${count} ${count === 1 ? 'worker' : 'workers'}`)}  ${why}\n`
}

const modelJson = ({ name, version, signature, tuning }: Plan['models'][number]): object => ({
  ...{ name, version, signature },
  ...{ ...tuning, times: Object.fromEntries(tuning.times) }
})
