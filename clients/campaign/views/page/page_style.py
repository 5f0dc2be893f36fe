"""The style of a campaign's page: dark and light, narrow and wide, on paper.

The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell
apart; no colour is the only sign of anything.
"""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f9;--ink:#1b1f24;--dim:#57606a;--line:#d5dae0;
--done:#0072b2;--waiting:#9aa4af;--publishing:#56b4e9;--failed:#d55e00;--repeated:#cc79a7;
--changed:#e69f00;--link:#0060a0;--alarm:#fdf0e7}
@media (prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2127;--ink:#e7eaee;--dim:#a3adb8;
--line:#3a424c;--done:#4aa8e0;--waiting:#6d7782;--publishing:#8fd0f5;--failed:#f0813a;
--repeated:#de9cc3;--changed:#f2b632;--link:#7cc4ff;--alarm:#33241a}}
*{box-sizing:border-box}
html{font-size:clamp(15px,12.5px + .32vw,26px);scroll-padding-top:1rem}
body{margin:0;background:var(--back);color:var(--ink);line-height:1.5;
font-family:system-ui,-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif}
.page{max-width:104rem;margin:0 auto;padding:1.2rem clamp(.8rem,2vw,2.5rem) 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.6rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.4rem 0 .3rem}
p{margin:.4rem 0;max-width:60rem}
a{color:var(--link)}
.dim,figcaption,caption{color:var(--dim)}
.path,code,td{overflow-wrap:anywhere}
code{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.9em}
.chip{display:inline-block;padding:.1rem .6rem;border:2px solid currentColor;border-radius:1rem;
font-weight:600;font-size:.9rem;margin:.5rem .6rem .2rem 0}
.chip.done{color:var(--done)}.chip.failed{color:var(--failed)}.chip.going{color:var(--ink)}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}
nav{margin:1rem 0;padding:.6rem .9rem;background:var(--card);border-radius:.5rem}
nav b{display:block;font-size:.85rem;color:var(--dim)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,9.5rem),1fr));gap:.7rem;
margin:1rem 0}
.tile{background:var(--card);border-radius:.5rem;padding:.6rem .9rem}
.tile b{display:block;font-size:1.45rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--dim);font-size:.86rem;display:block}
.look{background:var(--alarm);border-left:.35rem solid var(--failed);border-radius:.3rem;
padding:.5rem 1rem;margin:.8rem 0}
.look.fine{background:var(--card);border-color:var(--done)}
.look ul{margin:.2rem 0;padding-left:1.1rem}.look li{margin:.3rem 0}
.states{display:flex;height:1.6rem;border-radius:.3rem;overflow:hidden;gap:2px;
background:var(--line)}
.states i{display:block;min-width:4px}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.3rem;list-style:none;padding:0;margin:.5rem 0}
.key i{display:inline-block;width:.85rem;height:.85rem;border-radius:.15rem;margin-right:.4rem;
vertical-align:-.08rem}
.done-b{background:var(--done)}.waiting-b{background:var(--waiting)}
.publishing-b{background:var(--publishing)}.repeated-b{background:var(--repeated)}
.changed-b{background:repeating-linear-gradient(45deg,var(--changed) 0 5px,var(--back) 5px 7px)}
.failed-b{background:repeating-linear-gradient(-45deg,var(--failed) 0 6px,var(--back) 6px 8px)}
table{border-collapse:collapse;max-width:100%;margin:.6rem 0 .3rem;font-size:.93rem}
caption{text-align:left;padding:.2rem 0;font-size:.88rem}
th,td{text-align:left;vertical-align:top;padding:.32rem 1.3rem .32rem 0;
border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:600;font-size:.85rem;vertical-align:bottom}
th.n{text-align:right}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
tr.bad td:first-child,.bad{font-weight:600;color:var(--failed)}
b.bad{white-space:nowrap}
.share{display:inline-block;width:5rem;height:.65rem;background:var(--line);border-radius:.2rem;
margin-left:.5rem;overflow:hidden;vertical-align:baseline}
.share i{display:block;height:100%;background:var(--failed)}
.chart{display:grid;grid-template-columns:auto 1fr;gap:.15rem .5rem;margin:.6rem 0}
.chart .y{display:flex;flex-direction:column;justify-content:space-between;text-align:right;
font-size:.82rem;color:var(--dim);font-variant-numeric:tabular-nums;line-height:1;
margin:-.4rem 0}
.chart .x{grid-column:2;display:flex;justify-content:space-between;font-size:.82rem;
color:var(--dim);line-height:1.3}
.chart .what{grid-column:2;font-size:.88rem}
.chart svg{grid-column:2;display:block;width:100%;height:13rem;border-left:1px solid var(--dim);
border-bottom:1px solid var(--dim)}
.chart svg.ticks{height:1.1rem;border:0;border-left:1px solid transparent}
.bars{fill:var(--done)}.marks{fill:var(--failed)}
.grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,44rem),1fr));gap:1rem;
align-items:start}
figure{margin:0;background:var(--card);border-radius:.5rem;padding:.7rem}
figure img{display:block;width:100%;height:auto;background:#fff;border-radius:.25rem}
figcaption{font-size:.88rem;margin-top:.4rem;overflow-wrap:anywhere}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,40rem),1fr));gap:0 3rem}
.pair>*{min-width:0}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.7rem;font-size:.88rem;
color:var(--dim)}
@media (max-width:640px){
table,tbody,tr,td,caption{display:block;width:100%}thead{display:none}
tr{border:1px solid var(--line);border-radius:.4rem;padding:.3rem .6rem;margin:.5rem 0}
td,td.n{border:0;padding:.12rem 0;text-align:left;white-space:normal;display:flex;gap:.6rem}
td.none{display:none}
td::before{content:attr(data-name);flex:0 0 7.5rem;color:var(--dim);font-size:.85rem}
td>span{min-width:0;overflow-wrap:anywhere}
.chart svg{height:9rem}.chart .x span:nth-child(even){display:none}}
@media print{:root{--back:#fff;--card:#f4f4f4;--ink:#000;--dim:#444;--line:#bbb;--done:#0072b2;
--waiting:#9aa4af;--failed:#d55e00;--alarm:#fff;--link:#000}
html{font-size:10pt}body{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.page{max-width:none;padding:0}nav a{text-decoration:none}
tr,figure,.tile,.look,.chart{break-inside:avoid}h2,h3{break-after:avoid}thead{display:table-header-group}}
"""
