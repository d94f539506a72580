/** Style and script of the report page. */

/** The page's style sheet: light, dark, phone and paper. */
export const style = `
:root{color-scheme:light dark;--page:#fff;--ink:#1d2125;--soft:#5d666f;--faint:#8b949d;--line:#e4e7ea;--card:#f6f7f8;--accent:#0b7a6f;--bad:#b3261e;--before:#c3c9cf;
--f32:#8fa1b3;--f16:#9a7bd0;--i8:#159a8c;--i4:#0a5f8a;--none:#d6dade;--d0:#0b7a6f;--d1:#4f9a4a;--d2:#b08a00;--d3:#c8651b;--d4:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--ink:#e7eaed;--soft:#a5afb8;--faint:#77818b;--line:#2b3138;--card:#1b1f23;--accent:#3cc4b4;--bad:#ff8a80;--before:#505a64;
--f32:#6d7f92;--f16:#a98be0;--i8:#2bb5a5;--i4:#4aa8dc;--none:#3a424a;--d0:#2bb5a5;--d1:#6fbf68;--d2:#d9b32f;--d3:#eb8d4b;--d4:#ff7468}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:50rem;margin:0 auto;padding:4.5rem 1.5rem 6rem}
h1{font-size:2.1rem;line-height:1.22;font-weight:650;letter-spacing:-.022em;margin:.4rem 0 1.1rem;text-wrap:balance}
h2{font-size:1.16rem;font-weight:620;letter-spacing:-.008em;margin:4.2rem 0 .3rem}
h3{font-size:.95rem;font-weight:600;margin:1.8rem 0 .5rem}
p{margin:.4rem 0;overflow-wrap:anywhere}
.kicker{color:var(--faint);font-size:.85rem;letter-spacing:.02em}
.lead{color:var(--soft)}
.about{color:var(--soft);font-size:.92rem;margin-bottom:1.1rem;max-width:40rem}
.verdict{display:inline-block;margin:.9rem 0 0;padding:.28rem .85rem;border-radius:2rem;font-size:.92rem;font-weight:550;background:color-mix(in srgb,var(--accent) 12%,transparent);color:var(--accent)}
.verdict.bad{background:color-mix(in srgb,var(--bad) 12%,transparent);color:var(--bad)}
.cards{display:grid;grid-template-columns:1fr 1fr;gap:1rem;margin:2.6rem 0 0}
.card{margin:0;padding:1.1rem 1.25rem 1.15rem;background:var(--card);border-radius:.8rem;break-inside:avoid}
.card figcaption{color:var(--soft);font-size:.88rem}
.card .big{font-size:1.42rem;font-weight:620;letter-spacing:-.015em;margin:0 0 .7rem;line-height:1.35}
.card .big small{font-size:.8rem;font-weight:400;color:var(--faint);letter-spacing:0}
.good{color:var(--accent)}.worse{color:var(--bad)}
.pair{display:grid;grid-template-columns:3.4rem 1fr auto;gap:.3rem .7rem;align-items:center;font-size:.88rem;margin:0}
.pair dt{color:var(--soft)}.pair dd{margin:0;text-align:right;min-width:4.6rem}
.pair dd.track{display:block;height:.6rem}
.track i{display:block;height:100%;min-width:2px;border-radius:.3rem;background:var(--before)}
.track i.now{background:var(--accent)}
.table{overflow-x:auto;margin:.8rem -.4rem;padding:0 .4rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.42rem .9rem .42rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:500;color:var(--soft);white-space:nowrap}
tbody th{color:var(--ink);font-weight:450;white-space:normal;overflow-wrap:anywhere;min-width:7rem}
td.n,th.n{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tr.won th,tr.won td{font-weight:600}
td.why{min-width:13rem;color:var(--soft);font-weight:400}
th[aria-sort]{cursor:pointer;user-select:none}th[aria-sort]:after{content:" ↕";color:var(--faint)}th[aria-sort=ascending]:after{content:" ↑"}th[aria-sort=descending]:after{content:" ↓"}
th[aria-sort]:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.sortable{font-size:.84rem}.sortable tbody th{min-width:8rem}.sortable th,.sortable td{padding-right:.65rem}.ran{white-space:nowrap}
.bars tbody th{overflow-wrap:normal;min-width:0}.bars td.bar{width:44%;vertical-align:middle}.bars i{display:block;height:.62rem;border-radius:.3rem;background:var(--accent);min-width:2px}
.two{display:grid;grid-template-columns:1fr;gap:0 2.5rem}
.dot{display:inline-block;width:.68rem;height:.68rem;border-radius:50%;margin-right:.4rem;background:var(--none)}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.2rem;font-size:.85rem;color:var(--soft);margin:.5rem 0 0;padding:0;list-style:none}
.chart,.gutter{display:block;overflow:visible}
.plot{display:grid;grid-template-columns:2.2rem 1fr;gap:.5rem}
svg text{font-size:12px;fill:var(--soft);font-family:inherit}
.tick{text-anchor:middle;fill:var(--faint)}.end{text-anchor:end}
.grid{stroke:var(--line)}.zero{stroke:var(--faint);stroke-width:1.5}
.limit{stroke:var(--bad);stroke-width:2;stroke-dasharray:5 4}.beyond{fill:var(--bad);opacity:.08}
.whisker{stroke-width:3;stroke-linecap:round}.within{stroke:var(--accent);fill:var(--accent)}.over{stroke:var(--bad);fill:var(--bad)}
.original line{stroke:var(--faint);stroke-dasharray:2 4}.original circle{fill:var(--page);stroke:var(--faint);stroke-width:2}
.mark circle{stroke:var(--page);stroke-width:1.5}.mark text{fill:#fff;font-size:11px;font-weight:600;text-anchor:middle;pointer-events:none}
.mark .ring{fill:none;stroke:var(--ink);stroke-width:2}
.d0{fill:var(--d0);background:var(--d0)}.d1{fill:var(--d1);background:var(--d1)}.d2{fill:var(--d2);background:var(--d2)}.d3{fill:var(--d3);background:var(--d3)}.d4{fill:var(--d4);background:var(--d4)}.d-unknown{fill:var(--faint);background:var(--faint)}
.layer{stroke:var(--page);stroke-width:1}.refused{fill:var(--bad);text-anchor:middle;font-size:14px}
.t-float32{fill:var(--f32);background:var(--f32)}.t-float16{fill:var(--f16);background:var(--f16)}.t-int8{fill:var(--i8);background:var(--i8)}.t-int4{fill:var(--i4);background:var(--i4)}.t-unknown{fill:var(--none);background:var(--none)}
.own{opacity:.75}.sum{stroke:var(--ink);stroke-width:1.6;stroke-linecap:round}
.rule{display:inline-block;width:1.1rem;border-top:2px solid var(--ink);vertical-align:middle;margin-right:.4rem}
.ranges td{vertical-align:middle}.span,.spread{display:inline-block;vertical-align:middle;overflow:visible}.span .cover{fill:var(--none)}.span line{stroke-width:2}.span .zero{stroke-width:1}.spread path{fill:var(--i8)}
ul.plain{padding:0;list-style:none;margin:.5rem 0}ul.plain li{padding:.5rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
code,pre{font:.85rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);border-radius:.7rem;padding:1rem 1.15rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:.6rem 0}
details{margin:.8rem 0}summary{cursor:pointer;color:var(--soft);font-size:.92rem}
.range{color:var(--soft)}
.small{font-size:.85rem;color:var(--soft)}
footer{margin-top:4rem;padding-top:1.2rem;border-top:1px solid var(--line);color:var(--faint);font-size:.85rem}
@media (min-width:46rem){.two{grid-template-columns:1fr 1fr}}
@media (max-width:34rem){main{padding:2.2rem 1.1rem 4rem}h1{font-size:1.6rem}h2{margin-top:3.2rem}.cards{grid-template-columns:1fr;gap:.8rem;margin-top:1.8rem}.plot{grid-template-columns:1.4rem 1fr}.range{display:block;font-size:.8rem}
.tried,.tried tbody,.tried thead{display:block}.tried tr{display:grid;grid-template-columns:1.1rem 1fr 3.6rem 3.6rem 2.9rem;column-gap:.7rem;border-bottom:1px solid var(--line);padding:.4rem 0}.tried th,.tried td{border:0;padding:0;min-width:0}.tried td.why{grid-column:2/-1}.tried thead th:last-child{display:none}}
@media print{:root{--page:#fff;--ink:#000;--soft:#444;--faint:#666;--line:#ccc;--card:#f4f4f4}body{font-size:10.5pt}main{max-width:none;padding:0}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}h2{margin-top:2rem;break-after:avoid}tr,svg,.card,.plot{break-inside:avoid}.table{overflow:visible}details:not([open]){display:none}}
`

/** Sorts tables of class `sortable` by a click on a column's head; the page is complete without it. */
export const script = `'use strict'
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells]
  const rows = table.tBodies[0]
  heads.forEach((head, column) => {
    head.setAttribute('aria-sort', 'none')
    head.tabIndex = 0
    const sort = () => {
      const down = head.getAttribute('aria-sort') !== 'descending' && head.className === 'n' || head.getAttribute('aria-sort') === 'ascending'
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)]
        if (x === '' || y === '') return (x === '') - (y === '')
        const by = head.className === 'n' ? Number(x) - Number(y) : x.localeCompare(y)
        return down ? -by : by
      }
      for (const other of heads) other.setAttribute('aria-sort', 'none')
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending')
      rows.append(...[...rows.rows].sort(order))
    }
    head.addEventListener('click', sort)
    head.addEventListener('keydown', (e) => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); sort() } })
  })
}
`

/** SHA-256 of `script`, in base64, by which the page's policy lets it run. */
export const scriptSha256 = 'FKAcxYOMqFYM9OykyvbCjBS5HaaaorPcYcZVOIs4vJw='
