// The last minute: a lane for each node and each client, what they asked, and what was
// wrong meanwhile.
import { Began, Ended, Entry, State } from "./api";
import { at, set, svg } from "./dom";

const span = 60_000; // ms
const lane = 22, left = 92, top = 4;

interface Op extends Began { end?: number; outcome?: string; code?: string; by?: string }
interface Band { node?: string; text: string; from: number; to?: number }

const ops = new Map<number, Op>();
let bands: Band[] = [];
let leaders: { t: number; node: string; text: string }[] = [];
let nodes: string[] = [];
let offset = 0; // of the server's clock to ours
let frozen: number | undefined;

export function init(): void {
  at("freeze").addEventListener("click", () => {
    frozen = frozen === undefined ? now() : undefined;
    set(at("freeze"), "aria-pressed", String(frozen !== undefined));
    at("freeze").textContent = frozen === undefined ? "Pause the picture" : "Go on";
    draw();
  });
  const slow = matchMedia("(prefers-reduced-motion: reduce)");
  const tick = () => {
    draw();
    setTimeout(tick, slow.matches ? 3000 : 500);
  };
  tick();
}

export const now = () => Date.now() + offset;

export function hello(anew: boolean, server: number): void {
  offset = server - Date.now();
  if (!anew) return;
  ops.clear();
  bands = [];
  leaders = [];
}

export function show(s: State): void { nodes = s.nodes.map((n) => n.id); }

export function began(o: Began): void {
  ops.set(o.id, { ...o });
  for (const [id, old] of ops) {
    if (old.t > now() - 5 * span) break;
    ops.delete(id);
  }
}

export function ended(e: Ended): Op | undefined {
  const o = ops.get(e.id);
  if (o) Object.assign(o, { end: e.t, outcome: e.outcome, code: e.code, by: e.node });
  return o;
}

export function log(e: Entry): void {
  if (e.kind === "leader" && e.node) leaders.push({ t: e.t, node: e.node, text: e.text });
  if (e.kind !== "net" && e.kind !== "node") return;
  for (const b of bands) if (b.to === undefined && b.node === e.node && (e.began || e.ended)) b.to = e.t;
  if (e.began) bands.push({ node: e.node, text: e.text, from: e.t });
}

const glyphs: Record<string, (x: number, y: number) => string> = {
  ok: (x, y) => `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`,
  fail: (x, y) => `M${x - 4} ${y - 4}l8 8M${x + 4} ${y - 4}l-8 8`,
  unknown: (x, y) => `M${x} ${y - 5}l5 5l-5 5l-5 -5z`,
};

function draw(): void {
  const picture = at<SVGSVGElement>("timeline");
  const width = Math.max(300, picture.clientWidth || 300), end = frozen ?? now(), start = end - span;
  const x = (t: number) => left + ((Math.min(Math.max(t, start), end) - start) / span) * (width - left - 8);
  const seen = [...ops.values()].filter((o) => (o.end ?? end) > start && o.t < end);
  const clients = [...new Set(seen.map((o) => o.client))].sort((a, b) => Number(b.startsWith("you")) - Number(a.startsWith("you"))).slice(0, 12);
  const lanes = [...nodes, ...clients], row = new Map(lanes.map((name, i) => [name, top + i * lane + lane / 2]));
  const height = top + lanes.length * lane + 18;
  set(picture, "viewBox", `0 0 ${width} ${height}`);
  set(picture, "height", String(height));
  const parts: Element[] = [];
  lanes.forEach((name, i) => {
    const y = row.get(name)!;
    if (i % 2 === 0) parts.push(svg("rect", { class: "lane", x: 0, y: y - lane / 2, width, height: lane }));
    parts.push(svg("text", { x: 4, y: y + 4, class: i < nodes.length ? "node-lane" : "" }, name.length > 13 ? `${name.slice(0, 12)}…` : name));
  });
  for (let s = 0; s <= 60; s += 15) parts.push(svg("line", { class: "grid", x1: x(end - s * 1000), x2: x(end - s * 1000), y1: top, y2: height - 16 }), svg("text", { class: "axis", x: x(end - s * 1000), y: height - 4, "text-anchor": s === 60 ? "start" : "end" }, s ? `−${s} s` : "now"));
  bands = bands.filter((b) => (b.to ?? end) > start - 4 * span);
  for (const b of bands) {
    if ((b.to ?? end) <= start || b.from >= end) continue;
    const y = b.node ? (row.get(b.node) ?? 0) - lane / 2 : top, tall = b.node ? lane : nodes.length * lane;
    const [x1, x2] = [x(b.from), x(b.to ?? end)];
    parts.push(svg("rect", { class: b.node ? "band gone" : "band", x: x1, y, width: Math.max(1, x2 - x1), height: tall }), svg("path", { class: "hatch", d: hatch(x1, x2, y, tall) }));
    if (x2 - x1 > 40) parts.push(svg("text", { class: "band-text", x: x1 + 4, y: y + 13 }, b.node ? "gone" : b.text.slice(0, Math.floor((x2 - x1) / 6.5))));
  }
  for (const l of leaders) if (l.t > start && l.t < end && row.has(l.node)) parts.push(svg("text", { class: "leads", x: x(l.t), y: row.get(l.node)! + 5 }, "★"));
  const bars: Record<string, string> = {}, marks: Record<string, string> = {};
  for (const o of seen) {
    const y = row.get(o.client);
    if (y === undefined) continue;
    const how = o.outcome ?? "running", to = x(o.end ?? end);
    bars[how] = `${bars[how] ?? ""}M${x(o.t).toFixed(1)} ${y}H${to.toFixed(1)}`;
    if (o.outcome) marks[how] = (marks[how] ?? "") + glyphs[o.outcome]!(Number(to.toFixed(1)), y);
    const by = o.by && row.get(o.by);
    if (by && o.end) bars["served"] = `${bars["served"] ?? ""}M${to.toFixed(1)} ${by - 4}v8`;
  }
  for (const [how, d] of Object.entries(bars)) parts.push(svg("path", { class: `bar ${how}`, d }));
  for (const [how, d] of Object.entries(marks)) parts.push(svg("path", { class: `mark ${how}`, d }));
  picture.replaceChildren(...parts);
  const count = (outcome: string) => seen.filter((o) => o.outcome === outcome).length;
  set(picture, "aria-label", `Timeline of the last minute: ${count("ok")} operations ok, ${count("fail")} failed, ${count("unknown")} unknown`);
}

function hatch(x1: number, x2: number, y: number, height: number): string {
  let d = "";
  for (let x = x1; x < x2; x += 9) d += `M${x.toFixed(1)} ${y + height}L${Math.min(x + height, x2).toFixed(1)} ${(y + height - Math.min(height, x2 - x)).toFixed(1)}`;
  return d;
}
