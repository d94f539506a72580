/** What a server has measured and chosen, for a terminal. */
import type { Plan } from '../node/serve/index.ts'
import { cell, columns, right, type Style } from '../report/table.ts'

type Model = Plan['models'][number]

/** Times of batches, what was chosen by them, and why. */
export function planText({ models, workers }: Plan, style: Style, isJson: boolean): string {
  if (isJson) return `${JSON.stringify({ workers, models: models.map(modelJson) }, null, 2)}\n`
  const lines = models.flatMap(({ name, version, stages }) => [
    `${style.bold(name)} ${style.dim(`version ${version}`)}`,
    ...stages.flatMap((stage) => stageLines(stage, stages.length > 1, style))
  ])
  const { count, why } = workers
  return `${lines.join('\n')}\n${style.bold(`${count} ${count === 1 ? 'worker' : 'workers'}`)}  ${why}\n`
}

function stageLines({ name, tuning, route }: Model['stages'][number], isNamed: boolean, style: Style): string[] {
  const rows = [...tuning.times].map(([b, ms]) => [
    right(String(b)),
    right(`${ms.toFixed(2)} ms`),
    right(`${(ms / b).toFixed(3)} ms`),
    cell(b === tuning.size ? 'chosen' : '', style.accent)
  ])
  const head = ['samples', 'a run', 'a sample', ''].map((t) => right(t, style.dim))
  const share = route?.exit
    ? `: ${Math.round(100 * (1 - route.goingOn))} % of its samples are expected to end here`
    : ''
  return [...(isNamed ? [`  stage ${name}${share}`] : []), ...columns([head, ...rows]), `  ${tuning.why}`, '']
}

const modelJson = ({ name, version, signature, stages }: Model): object => ({
  ...{ name, version, signature },
  stages: stages.map(({ name: stage, tuning }) => ({
    ...{ name: stage, ...tuning },
    times: Object.fromEntries(tuning.times)
  }))
})
