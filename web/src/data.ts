// Reads and writes of one key, what they are worth, and what each replica holds of it.
import { KeyView, Keyspace, Proof, Refused, Reply, Shown, State, ask } from "./api";
import { at, command, each, h, options, quote, say } from "./dom";

const levels: [string, string][] = [
  ["eventual", "some past state"], ["monotonic", "never older than this session has read"], ["read-your-writes", "what this session wrote"],
  ["causal", "what this session wrote or read, and what that depended on"], ["bounded:2s", "at most two seconds old"],
  ["quorum", "the freshest of a majority"], ["strong", "one order for everybody: linearizable"],
];

export const client = `you-${Math.random().toString(36).slice(2, 6)}`;
let session = "", sessions = 1, context = "", contextOf = "";
let spaces: Keyspace[] = [];
let values = 1;
let looked = "";

const value = (id: string) => at<HTMLInputElement>(id).value;
const chosen = () => document.querySelector<HTMLInputElement>('input[name="level"]:checked')?.value ?? "";
const space = () => spaces.find((k) => k.name === value("keyspace"));
const name = () => (sessions > 1 ? `${client} ${sessions}` : client);

export function init(): void {
  const box = at("levels");
  box.append(h("label", { title: "strong on cp, causal on ap" }, h("input", { type: "radio", name: "level", value: "", checked: true }), "default"));
  for (const [level, meaning] of levels) box.append(h("label", { title: meaning }, h("input", { type: "radio", name: "level", value: level }), level));
  at("op").addEventListener("submit", (e) => { e.preventDefault(); void run("get"); });
  at("op").addEventListener("input", showCommand);
  at("op").addEventListener("change", () => void inspect());
  at("put").addEventListener("click", () => void run("put"));
  at("delete").addEventListener("click", () => void run("delete"));
  at("session").addEventListener("click", () => {
    session = context = "";
    sessions++;
    at("answer").replaceChildren(h("p", {}, `A new session, ${name()}: it has seen nothing.`));
  });
}

export function show(s: State): void {
  spaces = s.keyspaces;
  options(at("keyspace"), spaces.map((k): [string, string] => [k.name, `${k.name} (${k.mode})`]));
  options(at("at"), [["", "anywhere"], ...s.nodes.map((n): [string, string] => [n.id, n.id])]);
  showCommand();
  // What the replicas hold is asked for again when something of it may have changed.
  const now = JSON.stringify([space()?.groups.map((g) => g.replicas.map((r) => [r.node, r.vector, r.revision])), s.net, s.nodes]);
  if (now !== looked) {
    looked = now;
    void inspect();
  }
}

function showCommand(): void {
  const place = quote(`${value("keyspace")}/${value("key")}`), enter = value("at") ? ` --at ${value("at")}` : "";
  const level = chosen() ? ` --level ${chosen()}` : "";
  command(at("op-kvctl"), `kvctl get ${place}${level}${enter} --explain`);
  const blind = space()?.mode === "ap" && at<HTMLInputElement>("blind").checked ? " --blind" : "";
  command(at("put-kvctl"), `kvctl put ${place} ${value("value").length > 200 ? "--file FILE" : quote(value("value"))}${blind}${enter}`);
  at("blind").parentElement!.hidden = space()?.mode !== "ap";
}

async function run(what: string, put?: string, after?: string): Promise<Reply | undefined> {
  const keyspace = value("keyspace"), key = value("key"), id = `${keyspace}/${key}`;
  const blind = at<HTMLInputElement>("blind").checked && what === "put" && space()?.mode === "ap" && put === undefined;
  const ap = space()?.mode === "ap" && what !== "get";
  const body = {
    do: what, at: value("at"), keyspace, key, client: name(), session, blind,
    value: what === "put" ? (put ?? value("value")) : "", level: what === "get" ? chosen() : "",
    context: after ?? (ap && !blind && contextOf === id ? context : ""),
  };
  try {
    const reply = await ask<Reply>("op", body);
    session = reply.session;
    if (what === "get") [context, contextOf] = [reply.context ?? "", id];
    else if (reply.outcome === "ok") context = "";
    if (what === "put" && put === undefined && reply.outcome === "ok" && /^v\d+$/.test(body.value)) at<HTMLInputElement>("value").value = `v${++values}`;
    answer(what, id, body.value, reply);
    void inspect();
    return reply;
  } catch (e) {
    refused(e as Refused);
    return undefined;
  }
}

function refused(e: Refused): void {
  at("answer").replaceChildren(h("p", { class: "outcome failed" }, `✕ ${e.message}`), ...(e.failure?.try ? [h("p", {}, `try: ${e.failure.try}`)] : []));
}

const mark: Record<string, string> = { ok: "●", fail: "✕", unknown: "◇" };

function answer(what: string, id: string, put: string, r: Reply): void {
  const lines: Node[] = [];
  const took = `${r.took_ms < 10 ? r.took_ms.toFixed(1) : r.took_ms.toFixed(0)} ms`;
  if (r.error) {
    lines.push(h("p", { class: `outcome ${r.outcome}` }, `${mark[r.outcome]} ${what} ${id}: ${r.error.code} after ${took}`), h("p", {}, r.error.message));
    lines.push(h("p", {}, r.outcome === "unknown" ? "It may have been applied: read the key before you write it again." : "It was certainly not applied."));
    if (r.error.try) lines.push(h("p", {}, `try: ${r.error.try}`));
  } else {
    const done = what === "get" ? (r.found ? "" : "absent") : r.acked ? `held by ${r.acked} of the ${r.wanted} replicas asked for` : `revision ${r.revision}${r.replaced ? `, replaced ${r.replaced}` : ""}`;
    lines.push(h("p", { class: "outcome ok" }, `● ${what} ${id}: ok in ${took}${done ? `, ${done}` : ""}${r.values.length > 1 ? `, ${r.values.length} concurrent values` : ""}`));
    if (r.values.length > 0) lines.push(h("ul", { class: "values" }, ...r.values.map((v) => h("li", {}, shown(v)))));
    else if (what === "put") lines.push(h("p", {}, shown({ text: put.slice(0, 200), size: put.length, clipped: put.length > 200 })));
  }
  if (r.proof) lines.push(proof(r.proof));
  at("answer").replaceChildren(...lines);
}

// proof says what an answer is worth, as kvctl --explain does.
function proof(p: Proof): Element {
  const facts: [string, string][] = [["answered by", `${p.node}, ${p.role} of group ${p.group}${p.term ? `, term ${p.term}` : ""}`]];
  if (p.level_served) facts.push(["level", `asked ${p.level_asked}, served ${p.level_served}${p.pacelc ? ` – ${p.pacelc}` : ""}`]);
  if (p.vector) facts.push(["has applied", p.vector]);
  if (p.waited_ms > 0) facts.push(["waited", `${p.waited_ms.toFixed(2)} ms${p.waited_for ? ` for ${p.waited_for}` : ""}`]);
  if (p.level_served) facts.push(["age", p.staleness_ms === undefined ? "cannot be bounded: no proof of freshness" : `at most ${p.staleness_ms.toFixed(1)} ms when the node took the read`]);
  return h("dl", { class: "proof" }, ...facts.flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
}

// shown is a value as text, whatever it is.
function shown(v: Shown): Element {
  const note = [v.binary ? "base64" : "", v.clipped ? `the first part of ${v.size} bytes` : ""].filter(Boolean).join(", ");
  return h("span", {}, h("span", { class: "value" }, v.text), ...(note ? [h("small", {}, ` (${note})`)] : []));
}

let asked = 0;

async function inspect(): Promise<void> {
  const keyspace = value("keyspace"), key = value("key"), turn = ++asked;
  if (!keyspace || !key) return;
  let view: KeyView;
  try {
    view = await ask<KeyView>("key", { keyspace, key });
  } catch (e) {
    if (turn === asked) {
      at("replicas").replaceChildren(h("tr", {}, h("td", { colspan: 3 }, (e as Error).message)));
      again(turn);
    }
    return;
  }
  if (turn !== asked) return; // a later question has its answer already, or will
  const body = at("replicas");
  each(body, view.replicas, (r) => r.node, (r) => h("tr", {}, h("th", { scope: "row" }, r.node), h("td"), h("td")), (el, r) => {
    const cells = el.children;
    const held = r.siblings && r.siblings.length > r.values.length ? r.siblings : r.values;
    cells[1]!.replaceChildren(...(!r.answers ? [h("em", {}, "does not answer")] : held.length === 0 ? [h("em", {}, "absent")] : held.map((v) => h("div", {}, shown(v)))));
    say(cells[2]!, !r.answers ? (r.why ?? "") : r.siblings ? r.siblings.map((s) => `dot ${s.dot.slice(0, 4)}…${s.dot.slice(s.dot.indexOf(":"))}`).join(", ") : r.revision ? `revision ${r.revision}` : "");
  });
  for (const el of Array.from(body.children)) if (!el.hasAttribute("data-key")) el.remove();
  if (view.replicas.some((r) => !r.answers)) again(turn);
  conflict(view);
}

// again asks once more soon what was not answered, unless something else was asked since.
function again(turn: number): void {
  setTimeout(() => { if (turn === asked) void inspect(); }, 1500);
}

// conflict offers to put one value in the place of all, if that is what a replica has.
function conflict(view: KeyView): void {
  const most = view.replicas.map((r) => r.siblings ?? []).reduce((a, b) => (b.length > a.length ? b : a), []);
  const box = at("resolve");
  if (view.mode !== "ap" || view.conflict !== "siblings" || most.length < 2) {
    if (box.childElementCount > 0) box.replaceChildren();
    return;
  }
  const key = JSON.stringify([view.keyspace, view.key, most.map((s) => s.dot)]);
  if (box.dataset.key === key && box.childElementCount > 0) return; // it may have the focus
  box.dataset.key = key;
  const merged = h("input", { id: "merged", value: most.filter((s) => !s.clipped && !s.binary).map((s) => s.text).join("+").slice(0, 200), autocomplete: "off" });
  box.replaceChildren(
    h("h3", {}, `◆ Conflict: ${most.length} values, written where neither saw the other`),
    h("div", { class: "row" }, ...most.filter((s) => !s.clipped && !s.binary).map((s) => h("button", { type: "button", class: "keep", click: () => void resolve(s.text) }, `Keep ${s.text.slice(0, 30)}`)),
      h("label", {}, "or ", merged), h("button", { type: "button", id: "merge", click: () => void resolve(merged.value) }, "Put this instead")));
  command(box.appendChild(h("span", { class: "kvctl" })), `kvctl conflicts resolve ${quote(`${view.keyspace}/${view.key}`)} VALUE`);
}

// resolve reads, and puts a value in the place of exactly what was read.
async function resolve(to: string): Promise<void> {
  const read = await run("get");
  if (read?.outcome === "ok" && read.context) await run("put", to, read.context);
}
