// The nodes and what lies between them: a picture, and the same as tables and forms.
import { State, NodeState, Refused, ask } from "./api";
import { at, command, each, h, options, quote, say, set, svg } from "./dom";

let state: State | undefined;
const sides = new Map<string, number>(); // of each node, for the next cut: 0 or 1

const place = (i: number, n: number) => {
  const turn = (2 * Math.PI * i) / n - Math.PI / 2;
  return { x: 220 + 160 * Math.cos(turn), y: 160 + 112 * Math.sin(turn) };
};

export function init(): void {
  at("partition").addEventListener("submit", (e) => { e.preventDefault(); void links({ do: "partition", what: spec() }); });
  at("heal").addEventListener("click", () => void links({ do: "heal", what: "" }));
  at("link").addEventListener("submit", (e) => { e.preventDefault(); void links(oneLink()); });
  at("link").addEventListener("input", showCommands);
  drag(at<SVGSVGElement>("map"));
}

export function show(s: State): void {
  const first = state === undefined;
  state = s;
  if (first) s.nodes.forEach((n, i) => sides.set(n.id, i < (s.nodes.length - 1) / 2 ? 0 : 1));
  const names = s.nodes.map((n): [string, string] => [n.id, n.id]);
  options(at("link-from"), names);
  options(at("link-to"), names);
  const to = at<HTMLSelectElement>("link-to");
  if (first && names.length > 1) to.selectedIndex = 1;
  say(at("topology-hint"), s.from ? `As ${s.from} sees it: what it cannot reach is shown as unreachable. It cuts its own links only.` : "Draw a line across links to cut them, or choose sides below.");
  const why = new Map<string, string[]>();
  for (const [what, reason] of Object.entries(s.cannot ?? {})) why.set(reason, [...(why.get(reason) ?? []), what]);
  say(at("cannot"), [...why].map(([reason, what]) => `Not from here: ${what.join(", ")} – ${reason}.`).join(" "));
  for (const id of ["partition", "link"]) at(id).hidden = "links" in (s.cannot ?? {});
  rows(s);
  picture(s);
  say(at("net"), s.net ? `✂ ${s.net}` : "every link is whole");
  showCommands();
}

const cannot = (what: string) => state?.cannot?.[what];

function leads(id: string): string {
  return (state?.keyspaces ?? []).flatMap((k) => k.groups.filter((g) => g.leader === id).map((g) => (k.groups.length > 1 ? g.id : k.name))).join(", ");
}

const marks: Record<string, string> = { ready: "●", waiting: "◐", unreachable: "○" };

function rows(s: State): void {
  each(at("nodes"), s.nodes, (n) => n.id, row, (el, n) => {
    const cells = el.children;
    say(cells[1]!, `${marks[n.state] ?? "?"} ${n.state}${n.reasons?.length ? `: ${n.reasons.join("; ")}` : ""}${n.skew_ms ? `, clock ${n.skew_ms > 0 ? "+" : ""}${n.skew_ms} ms` : ""}`);
    say(cells[2]!, leads(n.id) || "–");
    for (const b of Array.from(el.querySelectorAll("button[data-do]"))) {
      const what = b.getAttribute("data-do")!;
      (b as HTMLButtonElement).hidden = !offered(what, n);
    }
  });
}

function offered(what: string, n: NodeState): boolean {
  if (cannot(what === "isolate" ? "links" : what) !== undefined) return false;
  const gone = n.state === "unreachable";
  return what === "isolate" || (what === "restart" || what === "resume") === gone;
}

function row(n: NodeState): Element {
  const button = (what: string, text: string, more: { skew_ms?: number } = {}) =>
    h("button", { type: "button", "data-do": what, "aria-label": `${text} ${n.id}`, click: () => void node({ do: what, node: n.id, ...more }) }, text);
  const radio = (side: number, name: string) => {
    const input = h("input", { type: "radio", name: `side-${n.id}`, value: side, change: () => { sides.set(n.id, side); showCommands(); if (state) picture(state); } });
    input.checked = sides.get(n.id) === side;
    return h("label", {}, input, name);
  };
  return h("tr", {}, h("th", { scope: "row" }, n.id), h("td"), h("td"),
    h("td", {}, h("span", { role: "radiogroup", "aria-label": `Side of ${n.id}`, class: "sides" }, radio(0, "A"), radio(1, "B"))),
    h("td", {}, button("kill", "Kill"), button("restart", "Restart"), button("pause", "Pause"), button("resume", "Resume"),
      h("button", { type: "button", "data-do": "isolate", "aria-label": `Isolate ${n.id}`, click: () => void links({ do: "isolate", what: n.id }) }, "Isolate"),
      button("skew", "Clock +30 s", { skew_ms: 30000 }), button("skew", "Clock right", { skew_ms: 0 })));
}

type LinkChange = { do: string; what: string; delay_ms?: number };

function spec(): string {
  const names = (side: number) => (state?.nodes ?? []).filter((n) => sides.get(n.id) === side).map((n) => n.id).join(",");
  return `${names(0)}|${names(1)}`;
}

function oneLink(): LinkChange {
  const from = at<HTMLSelectElement>("link-from").value, to = at<HTMLSelectElement>("link-to").value;
  const what = at<HTMLSelectElement>("link-do").value;
  if (what === "cut") return { do: "cut", what: `${from}->${to}` };
  if (what === "delay") return { do: "delay", what: `${from}<->${to}`, delay_ms: Number(at<HTMLInputElement>("link-ms").value) };
  return { do: what === "heal" ? "heal" : "cut", what: `${from}<->${to}` };
}

function showCommands(): void {
  command(at("partition-kvctl"), `kvctl net partition ${quote(spec())}`);
  const l = oneLink();
  command(at("link-kvctl"), l.do === "heal" ? "kvctl net heal" : `kvctl net ${l.do} ${quote(l.what)}${l.do === "delay" ? ` ${l.delay_ms}ms` : ""}`);
  at("link-ms").parentElement!.hidden = l.do !== "delay";
}

async function attempt(do_: Promise<unknown>): Promise<void> {
  try {
    await do_;
    say(at("change-error"), "");
  } catch (e) {
    const f = e as Refused;
    say(at("change-error"), `${f.message}${f.failure?.try ? ` – try ${f.failure.try}` : ""}`);
  }
}

const links = (change: LinkChange) => {
  if (change.do === "isolate") did(`kvctl net isolate ${change.what}`);
  return attempt(ask("links", change));
};

const node = (change: { do: string; node: string }) => {
  if (change.do !== "skew") did(`kvctl node ${change.do} ${change.node}`);
  return attempt(ask("node", change));
};

// did shows the command of what a row's button does.
const did = (text: string) => command(at("node-kvctl"), text);

// between says which directions between two nodes are cut, and how late what passes comes.
function between(s: State, a: string, b: string): { cut: number; label: string } {
  const on = (r: { from: string; to: string }, x: string, y: string) => (r.from === x || r.from === "*") && (r.to === y || r.to === "*");
  const there = s.rules.some((r) => r.action !== "pass" && on(r, a, b));
  const back = s.rules.some((r) => r.action !== "pass" && on(r, b, a));
  if (there && back) return { cut: 2, label: "✂" };
  if (there || back) return { cut: 1, label: there ? `✂ ${a}→${b}` : `✂ ${b}→${a}` };
  const late = s.rules.filter((r) => on(r, a, b)).reduce((sum, r) => sum + (r.delay_ms ?? 0), 0);
  const lost = s.rules.filter((r) => on(r, a, b)).reduce((sum, r) => sum + (r.loss ?? 0), 0);
  return { cut: 0, label: [late ? `${late} ms` : "", lost ? `−${Math.round(lost * 100)} %` : ""].filter(Boolean).join(" ") };
}

function picture(s: State): void {
  const map = at<SVGSVGElement>("map");
  if (!map.firstChild) map.append(svg("g", { class: "links", "aria-hidden": "true" }), svg("g", { class: "nodes" }), svg("path", { class: "stroke", d: "" }));
  const [linksG, nodesG] = Array.from(map.children) as [Element, Element];
  const n = s.nodes.length;
  const pairs = s.nodes.flatMap((a, i) => s.nodes.slice(i + 1).map((b, j) => ({ a: a.id, b: b.id, p: place(i, n), q: place(i + 1 + j, n) })));
  each(linksG, pairs, (l) => `${l.a} ${l.b}`, () => svg("g", {}, svg("line"), svg("text", { "text-anchor": "middle" })), (el, l) => {
    const { cut, label } = between(s, l.a, l.b);
    const [line, text] = Array.from(el.children) as [Element, Element];
    set(el, "class", ["whole", "half", "cut"][cut]! + (label && !cut ? " late" : ""));
    for (const [k, v] of Object.entries({ x1: l.p.x, y1: l.p.y, x2: l.q.x, y2: l.q.y })) set(line, k, v.toFixed(1));
    set(text, "x", ((l.p.x + l.q.x) / 2).toFixed(1));
    set(text, "y", ((l.p.y + l.q.y) / 2 + 4).toFixed(1));
    say(text, label);
  });
  each(nodesG, s.nodes.map((node, i) => ({ node, p: place(i, n) })), (x) => x.node.id, ({ node }) => nodeShape(node.id), (el, { node, p }) => {
    const [, name, role] = Array.from(el.children) as [Element, Element, Element];
    const leading = leads(node.id);
    set(el, "transform", `translate(${p.x.toFixed(1)} ${p.y.toFixed(1)})`);
    set(el, "class", `node ${node.state}${leading ? " leader" : ""}`);
    say(name, `${marks[node.state] ?? "?"} ${node.id}`);
    say(role, leading ? `★ leads ${leading}` : node.state);
    say(el.children[3]!, sides.get(node.id) === 0 ? "A" : "B");
  });
}

const where: Record<string, Record<string, string | number>> = { id: { "text-anchor": "middle", y: 4 }, role: { "text-anchor": "middle", y: 46 }, side: { x: 24, y: -22 } };

function nodeShape(id: string): Element {
  const turn = () => {
    sides.set(id, 1 - (sides.get(id) ?? 0));
    const input = document.querySelector<HTMLInputElement>(`input[name="side-${CSS.escape(id)}"][value="${sides.get(id)}"]`);
    if (input) input.checked = true;
    showCommands();
    if (state) picture(state);
  };
  return svg("g", { tabindex: 0, role: "button", "aria-description": "changes its side for the next cut", click: turn, keydown: (e) => { const k = (e as KeyboardEvent).key; if (k === "Enter" || k === " ") { e.preventDefault(); turn(); } } },
    svg("circle", { r: 30 }), ...["id", "role", "side"].map((name) => svg("text", { class: name, ...where[name] })));
}

// drag lets a line be drawn across links, which cuts those that it crosses.
function drag(map: SVGSVGElement): void {
  let from: DOMPoint | undefined, to: DOMPoint | undefined;
  const point = (e: PointerEvent) => new DOMPoint(e.clientX, e.clientY).matrixTransform(map.getScreenCTM()!.inverse());
  const stroke = (d: string) => { const p = map.querySelector(".stroke"); if (p) set(p, "d", d); };
  map.addEventListener("pointerdown", (e) => {
    if ((e.target as Element).closest(".node") || cannot("links")) return;
    from = point(e);
    map.setPointerCapture(e.pointerId);
  });
  map.addEventListener("pointermove", (e) => {
    if (!from) return;
    to = point(e);
    stroke(`M${from.x} ${from.y}L${to.x} ${to.y}`);
  });
  const end = () => {
    if (from && to && state) void cutAcross(state, from, to);
    from = to = undefined;
    stroke("");
  };
  map.addEventListener("pointerup", end);
  map.addEventListener("pointercancel", () => { from = to = undefined; stroke(""); });
}

type Point = { x: number; y: number };

function crosses(a: Point, b: Point, c: Point, d: Point): boolean {
  const side = (p: Point, q: Point, r: Point) => Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
  return side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b);
}

async function cutAcross(s: State, from: Point, to: Point): Promise<void> {
  const n = s.nodes.length, names = s.nodes.map((x) => x.id);
  const crossed: [number, number][] = [];
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (crosses(from, to, place(i, n), place(j, n))) crossed.push([i, j]);
  if (crossed.length === 0) return;
  // What is left hangs together in sides; if each link between them was crossed, it is a partition.
  const side = names.map((_, i) => i);
  for (let again = true; again; ) {
    again = false;
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) {
      if (side[i] !== side[j] && !crossed.some(([a, b]) => a === i && b === j)) {
        side[i] = side[j] = Math.min(side[i]!, side[j]!);
        again = true;
      }
    }
  }
  const all = [...new Set(side)];
  if (all.length > 1) return links({ do: "partition", what: all.map((x) => names.filter((_, i) => side[i] === x).join(",")).join("|") });
  for (const [a, b] of crossed) await links({ do: "cut", what: `${names[a]}<->${names[b]}` });
}
