/** A page that holds a compiled model and runs it: one file, which needs no server and loads nothing. */
import { loaderOf, type Source } from './loader.ts'
import type { Port } from './program.ts'
import type { ModuleNote } from './wasm/module.ts'

const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const style = `:root{color-scheme:light dark;--page:#fff;--ink:#1d2125;--soft:#5d666f;--line:#e4e7ea;--card:#f6f7f8;--accent:#0b7a6f;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--ink:#e7eaed;--soft:#a5afb8;--line:#2b3138;--card:#1b1f23;--accent:#3cc4b4;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:46rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
h1{font-size:1.9rem;line-height:1.25;margin:0 0 .3rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2.4rem 0 .4rem}
p{margin:.3rem 0;color:var(--soft)}
fieldset{border:0;margin:0 0 .8rem;padding:1rem 1.2rem;background:var(--card);border-radius:.7rem}
legend{float:left;width:100%;font-weight:600;overflow-wrap:anywhere}legend small{font-weight:400;color:var(--soft)}
label{display:inline-block;margin:.5rem 1.2rem 0 0;color:var(--soft);font-size:.92rem}
select,button,input{font:inherit;color:inherit}
button{margin-top:1rem;padding:.4rem 1.3rem;border:0;border-radius:.5rem;background:var(--accent);color:var(--page);cursor:pointer}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}th{font-weight:500;color:var(--soft)}
td.bar{width:50%}td.bar i{display:block;height:.6rem;min-width:2px;border-radius:.3rem;background:var(--accent)}
.bad{color:var(--bad)}`

const isPicture = ({ dtype, shape }: Port): boolean => {
  const [n, c, h, w] = shape
  return dtype === 'float32' && shape.length === 4 && n === 1 && (c === 1 || c === 3) && (h ?? 0) > 7 && (w ?? 0) > 7
}

const field = (p: Port, i: number): string =>
  `<fieldset data-input="${i}"><legend>${escaped(p.name)} <small>${p.dtype} [${p.shape.join(', ')}]</small></legend>
<label>filled with <select class="fill"><option value="normal">random numbers</option><option value="zeros">zeros</option>${
    isPicture(p) ? '<option value="picture">a picture</option>' : ''
  }</select></label>${
    isPicture(p)
      ? `<label>picture <input type="file" accept="image/*"></label>
<label>its values <select class="range"><option value="0 1">0 … 1</option><option value="-1 1">−1 … 1</option><option value="0 255">0 … 255</option><option value="imagenet">as for ImageNet</option></select></label>`
      : ''
  }</fieldset>`

/** What the page does; after the loader's text there are `load`, `inputs` and `outputs`. */
const program = `
const model = await load()
const byId = (id) => document.getElementById(id)
const fields = [...document.querySelectorAll('fieldset')]

/** Numbers of a picture as planes of red, green and blue, or of grey. */
async function picture(file, [, channels, height, width], range) {
  const canvas = new OffscreenCanvas(width, height).getContext('2d')
  canvas.drawImage(await createImageBitmap(file), 0, 0, width, height)
  const { data } = canvas.getImageData(0, 0, width, height)
  const plane = width * height
  const [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]
  const [low, high] = range === 'imagenet' ? [0, 1] : range.split(' ').map(Number)
  return Float32Array.from({ length: channels * plane }, (_, i) => {
    const [c, at] = [Math.floor(i / plane), (i % plane) * 4]
    const grey = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]
    const x = low + ((high - low) * (channels === 1 ? grey : data[at + c])) / 255
    return range === 'imagenet' ? (x - mean[c]) / std[c] : x
  })
}

const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())
async function numbers({ count, Outside }, own, shape) {
  const fill = own.querySelector('.fill').value
  const [file] = own.querySelector('input')?.files ?? []
  if (fill === 'picture') {
    if (!file) throw new Error('choose a picture first')
    return picture(file, shape, own.querySelector('.range').value)
  }
  if (Outside === BigInt64Array) return new BigInt64Array(count)
  return Outside.from({ length: count }, () => (fill === 'zeros' ? 0 : normal()))
}

const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text })
/** The largest numbers of an output, with their places. */
function table(name, values, shape) {
  const most = [...values].map((v, i) => [Number(v), i]).sort((a, b) => b[0] - a[0]).slice(0, 5)
  const far = Math.max(...most.map(([v]) => Math.abs(v)), 1e-30)
  const out = document.createElement('table')
  for (const [v, i] of most) {
    const row = out.insertRow()
    const bar = document.createElement('i')
    bar.style.width = 100 * Math.abs(v) / far + '%'
    row.append(cell('td', i), cell('td', Number(v.toPrecision(5))))
    row.insertCell().append(bar)
    row.lastChild.className = 'bar'
  }
  return [cell('h2', name + ' [' + shape.join(', ') + ']'), cell('p', 'the ' + most.length + ' largest of ' + values.length), out]
}

/** Milliseconds of a run: the median of as many as take a quarter of a second, five at least. */
function timed(feeds) {
  const times = []
  const begun = performance.now()
  while (times.length < 5 || performance.now() - begun < 250) {
    const start = performance.now()
    model.run(feeds)
    times.push(performance.now() - start)
  }
  return times.sort((a, b) => a - b)[times.length >> 1]
}

byId('run').onclick = async () => {
  const told = byId('told')
  try {
    const feeds = {}
    for (const [i, p] of inputs.entries()) feeds[p.name] = await numbers(p, fields[i], shapes[i])
    const results = model.run(feeds)
    const shown = outputs.flatMap((p, i) => table(p.name, results[p.name], outputShapes[i]))
    told.className = ''
    told.textContent = 'a run takes ' + Number(timed(feeds).toPrecision(3)) + ' ms here, on one thread'
    byId('results').replaceChildren(...shown)
  } catch (error) {
    told.className = 'bad'
    told.textContent = error.message
  }
}
byId('run').disabled = false
`

const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'wasm-unsafe-eval'; img-src blob:; base-uri 'none'; form-action 'none'`

/** `name`: of the model, as a title. */
export function pageOf(note: ModuleNote, name: string, from: Source & { readonly inline: string }): string {
  const shapes = (ports: readonly Port[]): string => JSON.stringify(ports.map((p) => p.shape))
  const kilobytes = (from.inline.length * 0.75) / 1000
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(name)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escaped(name)}</h1>
<p>A compiled model of ${kilobytes.toPrecision(3)} kB, in this page. Nothing is sent anywhere.</p>
<h2>Inputs</h2>
${note.inputs.map(field).join('\n')}
<button id="run" disabled>Run</button>
<p id="told"></p>
<div id="results"></div>
</main>
<script type="module">
${loaderOf(note, from)}
const shapes = ${shapes(note.inputs)}
const outputShapes = ${shapes(note.outputs)}
${program}</script>
</body>
</html>
`
}
