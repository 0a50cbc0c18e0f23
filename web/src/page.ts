// The page of a cluster: it shows what the server says, and asks for what is pressed.
import { Began, Ended, Entry, Keyspace, State, listen } from "./api";
import * as data from "./data";
import { at, each, h, say } from "./dom";
import * as judge from "./judge";
import * as timeline from "./timeline";
import * as topology from "./topology";

const keep = 200; // lines of the log

function theme(): void {
  const select = at<HTMLSelectElement>("theme");
  select.value = localStorage.getItem("theme") ?? "";
  const put = () => {
    document.documentElement.dataset.theme = select.value;
    localStorage.setItem("theme", select.value);
  };
  select.addEventListener("change", put);
  put();
}

function availability(k: Keyspace, all: number): string {
  const groups = k.groups.map((g) => (g.serving.length === all ? "everywhere" : g.serving.length === 0 ? "nowhere" : `on ${g.serving.join(",")}`));
  const where = new Set(groups).size === 1 ? `available ${groups[0]}` : k.groups.slice(0, 4).map((g, i) => `${g.id} ${groups[i]}`).join("; ");
  if (k.mode === "cp") return `${where}${k.groups.length === 1 && k.groups[0]!.leader ? `, ${k.groups[0]!.leader} leads` : ""}`;
  const more = k.partly ? "at least " : "";
  const differ = k.differ === 0 ? "all that answer agree" : `${more}${k.differ} ${k.differ === 1 ? "key differs" : "keys differ"}`;
  return `${where}, ${differ}${k.conflicts ? `, ${k.conflicts} ${k.conflicts === 1 ? "conflict" : "conflicts"}` : ""}`;
}

function header(s: State): void {
  say(at("name"), `${s.name ? `· ${s.name} ` : ""}· ${s.nodes.length} nodes${s.from ? `, seen from ${s.from}` : ""}`);
  each(at("availability"), s.keyspaces, (k) => k.name, () => h("li", {}, h("span"), " ", h("span")), (el, k) => {
    const whole = k.groups.every((g) => g.serving.length === s.nodes.length);
    el.className = whole ? "whole" : "part";
    say(el.children[0]!, `${whole ? "●" : "◐"} ${k.mode} ${k.name}:`);
    say(el.children[1]!, availability(k, s.nodes.length));
  });
}

function write(t: number, text: string, kind: string): void {
  const list = at("log");
  list.prepend(h("li", { class: kind }, h("time", {}, new Date(t).toLocaleTimeString("en-GB")), " ", text));
  while (list.childElementCount > keep) list.lastElementChild!.remove();
}

const outcomes: Record<string, string> = { ok: "●", fail: "✕", unknown: "◇" };

function wrote(o: Began & { end?: number }, e: Ended): void {
  if (o.client.startsWith("load")) return; // the timeline has them
  const what = o.do === "get" ? `get ${o.keyspace}/${o.key}${o.level ? ` at ${o.level}` : ""}` : `${o.do} ${o.keyspace}/${o.key}${o.value ? ` = ${o.value}` : ""}`;
  const seen = e.outcome === "ok" && o.do === "get" ? `: ${e.values?.length ? e.values.join(" | ") : "absent"}` : "";
  write(e.t, `${outcomes[e.outcome]} ${o.client}${o.at ? ` by ${o.at}` : ""}: ${what}${seen} ${e.outcome === "ok" ? `(${e.node})` : `→ ${e.code}, ${e.outcome === "fail" ? "not applied" : "may have been applied"}`}`, e.outcome);
}

theme();
topology.init();
data.init();
timeline.init();
judge.init();
listen({
  hello: (anew, now) => {
    say(at("line"), "live");
    document.body.dataset.live = "yes";
    timeline.hello(anew, now);
    if (anew) at("log").replaceChildren();
  },
  lost: () => {
    say(at("line"), "the server does not answer; what you see is old. Trying again…");
    document.body.dataset.live = "no";
  },
  state: (s) => {
    header(s);
    topology.show(s);
    data.show(s);
    timeline.show(s);
  },
  began: timeline.began,
  ended: (e) => {
    const o = timeline.ended(e);
    if (o) wrote(o, e);
  },
  log: (e: Entry) => {
    timeline.log(e);
    write(e.t, e.text, e.kind);
  },
  verdict: judge.verdict,
  charts: judge.charts,
  load: judge.running,
});
