// What the server says and is asked: see internal/page.

export interface Replica { node: string; role: string; ready: boolean; leader?: string; term?: number; revision?: number; vector?: string; detail?: string }
export interface Group { id: string; shard: number; leader?: string; term?: number; serving: string[]; replicas: Replica[] }
export interface Keyspace { id: number; name: string; mode: string; groups: Group[]; differ: number; conflicts: number; partly?: boolean }
export interface NodeState { id: string; state: string; reasons?: string[]; skew_ms?: number }
export interface Rule { from: string; to: string; action: string; delay_ms?: number; loss?: number }
export interface State { name: string; from?: string; cannot: Record<string, string> | null; nodes: NodeState[]; rules: Rule[]; net: string; keyspaces: Keyspace[] }

export interface Shown { text: string; size: number; binary?: boolean; clipped?: boolean }
export interface Failure { code: string; message: string; try?: string; maybe_applied?: boolean }
export interface Proof { node: string; group: string; role: string; term?: number; vector?: string; level_asked?: string; level_served?: string; waited_ms: number; waited_for?: string; staleness_ms?: number; pacelc?: string }
export interface Reply { id: number; outcome: string; found?: boolean; values: Shown[]; revision?: number; replaced?: number; context?: string; acked?: number; wanted?: number; proof?: Proof; session: string; took_ms: number; error?: Failure }
export interface View { node: string; answers: boolean; why?: string; values: Shown[]; revision?: number; siblings?: (Shown & { dot: string; field?: string })[] }
export interface KeyView { keyspace: string; key: string; mode: string; conflict: string; group: string; replicas: View[] }

export interface Began { id: number; t: number; client: string; at: string; do: string; keyspace: string; key: string; value?: string; level?: string; blind?: boolean }
export interface Ended { id: number; t: number; outcome: string; code?: string; node?: string; values?: string[] }
export interface Entry { t: number; kind: string; text: string; node?: string; began?: boolean; ended?: boolean }
export interface Checker { name: string; claim: string; verdict: string; sentence: string; witness: number[] }
export interface Verdict { verdict: string; ops: number; ok: number; failed: number; unknown: number; checkers: Checker[]; not?: string[] }
export interface LevelRow { level: string; pacelc?: string; answered: number; failed: number; p50_ms: number; p99_ms: number; stale: number; old_p99_ms: number }
export interface Chart { keyspace: string; mode: string; net: string; seconds: number; rows: LevelRow[] }
export interface Load { running: boolean; keyspace: string; until: number; measure: boolean }

export class Refused extends Error {
  constructor(readonly failure: Failure) { super(failure.message); }
}

// ask sends a command. What the server refuses is thrown, with what it says to try.
export async function ask<T>(name: string, body: object): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Refused({ code: "Unavailable", message: "the page's server does not answer", try: "again when it is back" });
  }
  const out = await response.json().catch(() => ({ error: { code: "Unavailable", message: `the server answered ${response.status}` } }));
  if (!response.ok) throw new Refused(out.error);
  return out as T;
}

export interface Listener {
  hello(anew: boolean, now: number): void;
  lost(): void;
  state(s: State): void;
  began(o: Began): void;
  ended(o: Ended): void;
  log(e: Entry): void;
  verdict(v: Verdict): void;
  charts(c: Record<string, Chart>): void;
  load(l: Load): void;
}

// listen follows the server. An EventSource comes back by itself, and says which event it
// saw last; one that was turned away for good is opened again.
export function listen(to: Listener): void {
  const source = new EventSource("/api/events");
  const on = <T>(name: string, f: (v: T) => void) => source.addEventListener(name, (e) => f(JSON.parse((e as MessageEvent<string>).data)));
  on<{ anew: boolean; now: number }>("hello", (v) => to.hello(v.anew, v.now));
  on<State>("state", (v) => to.state(v));
  on<Began>("began", (v) => to.began(v));
  on<Ended>("ended", (v) => to.ended(v));
  on<Entry>("log", (v) => to.log(v));
  on<Verdict>("verdict", (v) => to.verdict(v));
  on<Record<string, Chart>>("charts", (v) => to.charts(v));
  on<Load>("load", (v) => to.load(v));
  source.onerror = () => {
    to.lost();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(to), 1000);
  };
}
