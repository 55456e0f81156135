"""How the page looks: one column that reads on a phone, the contents beside it on a desk, proofs unfolded on paper."""

PAGE_STYLE = """
:root { --ink: #1c1e21; --quiet: #5b6470; --rule: #d9dee4; --accent: #1a4b7a; --wash: #f4f7fa; }
* { box-sizing: border-box; }
html { font-size: 17px; scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.6;
  font-family: "Charter", "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1.1rem 5rem; }
nav { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-size: .82rem; line-height: 1.45; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav .level-2 { padding-left: .8rem; }
nav .level-3 { padding-left: 1.6rem; }
nav a { display: block; padding: .12rem 0; color: var(--quiet); text-decoration: none; }
nav a:hover, nav a:focus { color: var(--accent); }
nav details { max-width: 46rem; margin: 0 auto; padding: .8rem 1.1rem; border-bottom: 1px solid var(--rule); }
nav summary { cursor: pointer; color: var(--accent); }
h1, h2, h3, summary, figcaption, table, .kind, .number, .byline {
  font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 1.2rem 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; line-height: 1.25; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.byline { color: var(--quiet); font-size: .85rem; }
.abstract { margin: 1.2rem 0 2rem; padding-left: 1rem; border-left: 3px solid var(--rule); color: #363b42; }
a { color: var(--accent); }
p { margin: .7rem 0; overflow-wrap: break-word; }
.statement { margin: 2.2rem 0 .8rem; padding: .7rem 1rem; background: var(--wash); border-left: 3px solid var(--accent);
  border-radius: 2px; }
.kind { font-weight: 650; font-size: .95rem; margin: .1rem 0 .4rem; }
.equation { display: flex; align-items: center; gap: 1rem; margin: .8rem 0; }
.equation > .scroll { flex: 1; min-width: 0; text-align: center; }
.number { color: var(--quiet); font-size: .85rem; }
.scroll { overflow-x: auto; overflow-y: hidden; padding: .15rem 0; }
math { font-size: 1.12em; font-family: "STIX Two Math", "Latin Modern Math", "New Computer Modern Math", "Cambria Math", math; }
p math, li math, td math, figcaption math { white-space: nowrap; }
mover:has(> .bar) > :first-child { border-top: .05em solid; padding-top: .1em; }
mover > .bar { visibility: hidden; font-size: .01em; }
details.proof { margin: .6rem 0 1rem; padding-left: 1rem; border-left: 1px solid var(--rule); }
details.proof > summary { cursor: pointer; font-size: .88rem; color: var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .8rem; line-height: 1.4; }
th { text-align: left; font-weight: 650; border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--rule); }
th, td { padding: .3rem .45rem .3rem 0; vertical-align: top; }
td { border-bottom: 1px solid #eef1f4; overflow-wrap: break-word; min-width: 3rem; }
table.wide { min-width: 38rem; }
figure { margin: 1.8rem 0; }
figure img { width: 100%; height: auto; }
figcaption { font-size: .84rem; line-height: 1.5; color: #363b42; margin: .4rem 0; }
.origin { display: block; margin-top: .35rem; font-size: .74rem; color: var(--quiet); }
code { font: .86em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--wash); padding: .8rem; font-size: .85rem; }
.references { padding-left: 1.6rem; font-size: .9rem; }
@media (min-width: 80rem) {
  body { display: grid; grid-template-columns: 19rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; border-right: 1px solid var(--rule); }
  nav details { border: 0; padding: 1.4rem 1.2rem; }
  @supports selector(details::details-content) {
    nav details::details-content { content-visibility: visible; block-size: auto; }
    nav summary { list-style: none; pointer-events: none; font-weight: 650; }
  }
  main { margin-left: max(2rem, calc((100vw - 19rem - 46rem) / 2 - 6rem)); }
}
@media (max-width: 40rem) { p { overflow-x: auto; overflow-y: hidden; } }
@media print {
  nav { display: none; } html { font-size: 11pt; } main { max-width: none; padding: 0; }
  details.proof::details-content { content-visibility: visible; display: block; }
  .statement, figure, tr { break-inside: avoid; }
}
"""
