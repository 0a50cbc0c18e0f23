// What a page is made of. Text is only ever set as text.

type Attributes = Record<string, string | number | boolean | ((e: Event) => void)>;
type Child = Node | string;

function fill(el: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, v] of Object.entries(attributes)) {
    if (typeof v === "function") el.addEventListener(name, v);
    else if (v === true) el.setAttribute(name, "");
    else if (v !== false) el.setAttribute(name, String(v));
  }
  el.append(...children);
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  fill(el, attributes, children);
  return el;
}

export function svg<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(el, attributes, children);
  return el;
}

export function at<T extends Element = HTMLElement>(id: string): T {
  return document.getElementById(id) as Element as T;
}

// say sets a text, and leaves alone what says it already: a live region is then silent.
export function say(el: Element, text: string): void {
  if (el.textContent !== text) el.textContent = text;
}

export function set(el: Element, name: string, value: string): void {
  if (el.getAttribute(name) !== value) el.setAttribute(name, value);
}

// each keeps one child for each item, in order, and does not touch one that stays where it
// is: what has the focus keeps it.
export function each<T>(parent: Element, items: T[], key: (item: T) => string, make: (item: T) => Element, update: (el: Element, item: T) => void = () => {}): void {
  const had = new Map<string, Element>();
  for (const el of Array.from(parent.children)) {
    const k = el.getAttribute("data-key");
    if (k !== null) had.set(k, el);
  }
  let before: Element | null = null;
  for (const item of items) {
    const k = key(item);
    let el = had.get(k);
    had.delete(k);
    if (!el) {
      el = make(item);
      el.setAttribute("data-key", k);
    }
    update(el, item);
    const next: Element | null = before ? before.nextElementSibling : parent.firstElementChild;
    if (next !== el) parent.insertBefore(el, next);
    before = el;
  }
  for (const el of had.values()) el.remove();
}

// options fills a select, and keeps what is chosen.
export function options(select: HTMLSelectElement, values: [string, string][]): void {
  each(select, values, ([v]) => v, ([v, text]) => h("option", { value: v }, text), (el, [, text]) => say(el, text));
}

// command shows a kvctl command with a button that copies it.
export function command(place: Element, text: string): void {
  let code = place.querySelector("code");
  if (!code) {
    const c = h("code");
    place.append(c, " ", h("button", { type: "button", class: "copy", click: () => void copy(c.textContent ?? "", place) }, "Copy"));
    code = c;
  }
  say(code, text);
}

async function copy(text: string, place: Element): Promise<void> {
  const button = place.querySelector("button")!;
  try {
    await navigator.clipboard.writeText(text);
    say(button, "Copied");
  } catch {
    getSelection()?.selectAllChildren(place.querySelector("code")!); // the clipboard is not ours: Ctrl-C is left
    say(button, "Selected");
  }
  setTimeout(() => say(button, "Copy"), 1500);
}

// quote is a word as a shell takes it.
export function quote(word: string): string {
  return /^[A-Za-z0-9_./:,@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
