// What the checkers say, and what the levels cost.
import { Chart, LevelRow, Load, Refused, Verdict, ask } from "./api";
import { at, each, h, say, svg } from "./dom";

const mark: Record<string, string> = { pass: "✓", fail: "✕", unknown: "?", invalid: "…" };
const words: Record<string, string> = {
  pass: "holds", fail: "was broken", unknown: "cannot be decided", invalid: "has too little to judge by yet",
};

export function init(): void {
  const keyspace = () => at<HTMLSelectElement>("keyspace").value;
  const load = async (body: object) => {
    try {
      await ask("load", body); // the server tells everybody that it runs
    } catch (e) {
      const f = e as Refused;
      say(at("measure-state"), `${f.message}${f.failure?.try ? ` – try ${f.failure.try}` : ""}`);
    }
  };
  at("traffic").addEventListener("click", () => void load({ keyspace: keyspace(), seconds: 20 }));
  at("measure-go").addEventListener("click", () => void load({ keyspace: keyspace(), seconds: 12, measure: true }));
}

export function running(l: Load): void {
  at<HTMLButtonElement>("traffic").disabled = at<HTMLButtonElement>("measure-go").disabled = l.running;
  say(at("measure-state"), l.running ? `${l.measure ? "measuring" : "traffic on"} ${l.keyspace}…` : "");
}

export function verdict(v: Verdict): void {
  const line = v.ops === 0 ? "Nothing of the last minute can be judged." : `${mark[v.verdict]} ${v.ops} operations, ${v.ok} ok, ${v.failed} failed, ${v.unknown} unknown: what was promised ${words[v.verdict]}.`;
  say(at("verdict"), line);
  at("verdict").className = `verdict ${v.verdict}`;
  const lines = [...v.checkers, ...(v.not ?? []).map((sentence, i) => ({ name: `not judged${i ? ` (${i + 1})` : ""}`, claim: "", verdict: "invalid", sentence }))];
  each(at("checkers"), lines, (c) => c.name, (c) => h("li", {}, h("strong", { title: c.claim }), " ", h("span")), (el, c) => {
    el.className = `verdict ${c.verdict}`;
    say(el.children[0]!, `${mark[c.verdict]} ${c.name}`);
    say(el.children[1]!, c.sentence);
  });
}

export function charts(all: Record<string, Chart>): void {
  each(at("charts"), Object.values(all), (c) => c.keyspace, () => h("div"), (el, c) => {
    const told = JSON.stringify(c);
    if ((el as HTMLElement).dataset.told === told) return;
    (el as HTMLElement).dataset.told = told;
    el.replaceChildren(h("h3", {}, `${c.keyspace} (${c.mode}), ${c.net ? `links: ${c.net}` : "all links whole"}`), scatter(c), table(c));
  });
}

const ms = (v: number) => (v < 10 ? v.toFixed(2) : v.toFixed(0));

function table(c: Chart): Element {
  const head = ["level", "class", "answered", "not answered", "half within", "99 of 100 within", "behind", "99 of 100 at most"];
  const rows = c.rows.map((r, i) => h("tr", {}, h("th", { scope: "row" }, `${i + 1} ${r.level}`), h("td", {}, r.pacelc ?? ""), h("td", {}, String(r.answered)), h("td", {}, String(r.failed)),
    h("td", {}, `${ms(r.p50_ms)} ms`), h("td", {}, `${ms(r.p99_ms)} ms`), h("td", {}, r.level === "put" ? "–" : String(r.stale)), h("td", {}, r.level === "put" ? "–" : `${ms(r.old_p99_ms)} ms`)));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Levels of ${c.keyspace}, as a table` },
    h("table", {}, h("thead", {}, h("tr", {}, ...head.map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, ...rows)));
}

// scatter draws each level at how long it takes and how old what it shows is, both on a
// scale on which a step is ten times as much.
function scatter(c: Chart): Element {
  const reads = c.rows.map((r, i): [LevelRow, number] => [r, i + 1]).filter(([r]) => r.level !== "put" && r.answered > 0);
  const scale = (v: number, size: number) => ((Math.log10(Math.min(Math.max(v, 0.01), 10_000)) + 2) / 6) * size;
  const w = 300, tall = 150, x = (v: number) => 40 + scale(v, w - 60), y = (v: number) => tall - 28 - scale(v, tall - 44);
  const parts: Element[] = [svg("path", { class: "grid", d: `M40 8V${tall - 28}H${w - 10}` }),
    svg("text", { class: "axis", x: w - 10, y: tall - 2, "text-anchor": "end" }, "slower: 99 of 100 reads within, ms →"), svg("text", { class: "axis", x: 4, y: 10 }, "older ↑")];
  for (const p of [0.1, 10, 1000]) parts.push(svg("text", { class: "axis", x: x(p), y: tall - 15, "text-anchor": "middle" }, String(p)), svg("text", { class: "axis", x: 36, y: y(p) + 3, "text-anchor": "end" }, String(p)));
  const used = new Map<string, number>();
  for (const [r, number] of reads) {
    const spot = `${Math.round(x(r.p99_ms) / 12)} ${Math.round(y(r.old_p99_ms) / 12)}`, n = used.get(spot) ?? 0;
    used.set(spot, n + 1);
    parts.push(svg("circle", { class: "dot", cx: x(r.p99_ms), cy: y(r.old_p99_ms), r: 3 }), svg("text", { class: "dot-text", x: x(r.p99_ms) + 5 + n * 10, y: y(r.old_p99_ms) - 4 }, String(number)));
  }
  return svg("svg", { class: "chart", viewBox: `0 0 ${w} ${tall}`, role: "img", "aria-label": `Latency and age of each level of ${c.keyspace}; the table below has the numbers` }, ...parts);
}
