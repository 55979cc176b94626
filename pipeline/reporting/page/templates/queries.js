// The list of queries. Only the lines in sight exist; texts are set as text, never as markup.
const holder = document.getElementById("data");
const DATA = holder ? JSON.parse(holder.textContent) : null;
const HEIGHT = 66;
const SPARE = 6;

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "rect", "path", "line", "text", "g", "title"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const shown = (value, decimals = 2) => (value === null || value === undefined ? "–" : value.toFixed(decimals).replace("-", "−"));
const byId = (name) => document.getElementById(name);
// The kinds of mistake that a query has: the places in DATA.kinds whose bits are set.
const kindsOf = (file, place) => DATA.kinds.filter((_, at) => (file.mistakes[place] >> at) & 1);
const FILTERS = ["words", "has", "mistake", "length", "number"];
const isRight = (window) => DATA.fates[window[4]] === "right";

// A window as a bar from 0 to 1000; `file` is a place in the list of files, or null for the truth.
function bar(window, duration, y, height, file) {
  const x = (1000 * Math.max(0, window[0])) / duration;
  const width = Math.max(3, (1000 * Math.min(duration, window[1])) / duration - x);
  const attributes = { x, y, width, height, class: file === null ? "truth" : `f${file % 4}` };
  if (file !== null) {
    attributes["stroke-width"] = 1;
    attributes["vector-effect"] = "non-scaling-stroke";
    if (!isRight(window)) attributes.class += " wrong";
  }
  return make("rect", attributes);
}

class List {
  constructor() {
    this.box = byId("list");
    this.spacer = byId("spacer");
    this.places = [];
    this.lines = new Map();
    this.chosen = -1;
    this.fill();
    for (const name of ["file", "beside", "order", ...FILTERS])
      byId(name).addEventListener(name === "words" ? "input" : "change", () => this.choose());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", (event) => {
      const line = event.target.closest(".item");
      if (line) this.select(Number(line.dataset.at));
    });
    addEventListener("resize", () => this.draw());
    addEventListener("hashchange", () => this.fromAddress());
    this.choose();
    if (!this.fromAddress()) this.select(0, false);
  }

  fill() {
    const files = DATA.files.map((file, at) => make("option", { value: at }, file.label));
    byId("file").append(...files.map((one) => one.cloneNode(true)));
    byId("beside").append(make("option", { value: "" }, "none"), ...files);
    byId("beside").value = DATA.files.length > 1 ? "1" : "";
    for (const name of ["has", "mistake"])
      byId(name).append(...[...DATA.kinds, "none"].map((kind) => make("option", { value: kind }, kind)));
    const hasWindows = DATA.files.some((file) => file.windows);
    for (const name of FILTERS.slice(1)) byId(name).parentNode.hidden = !hasWindows;
    if (DATA.files.length < 2) byId("beside").parentNode.hidden = true;
  }

  get file() { return Number(byId("file").value); }
  get beside() { return byId("beside").value === "" ? null : Number(byId("beside").value); }

  // Filter and sort, then draw from the top.
  choose() {
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [has, mistake, length, number, order] = ["has", "mistake", "length", "number", "order"].map((name) => byId(name).value);
    const one = DATA.files[this.file];
    const other = this.beside === null ? null : DATA.files[this.beside];
    const kept = this.places[this.chosen];
    const fits = (at) => {
      const text = `${DATA.query[at]} ${DATA.vid[at]} ${DATA.qid[at]}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return false;
      if ((has || mistake) && one.mistake && one.mistake[at] === null) return false;
      if (has && one.mistakes && !(has === "none" ? one.mistakes[at] === 0 : kindsOf(one, at).includes(has))) return false;
      if (mistake && one.mistake && (DATA.kinds[one.mistake[at]] || "none") !== mistake) return false;
      const windows = DATA.windows[at];
      if (length) {
        const mean = windows.reduce((sum, [start, end]) => sum + end - start, 0) / windows.length;
        if (length !== (mean <= 10 ? "short" : mean <= 30 ? "middle" : "long")) return false;
      }
      if (number && !(number === "1" ? windows.length === 1 : number === "2" ? windows.length === 2 || windows.length === 3 : windows.length > 3)) return false;
      return true;
    };
    this.places = DATA.qid.map((_, at) => at).filter(fits);
    const value = (at) => one.score[at];
    const gain = (at) => (other ? other.score[at] - one.score[at] : 0);
    const orders = { worst: (a, b) => value(a) - value(b), best: (a, b) => value(b) - value(a), gain: (a, b) => gain(b) - gain(a), loss: (a, b) => gain(a) - gain(b), given: () => 0 };
    this.places.sort((a, b) => orders[order](a, b) || a - b);
    const n = DATA.qid.length;
    byId("count").textContent = `${this.places.length.toLocaleString("en")} of ${n.toLocaleString("en")} ${n === 1 ? "query" : "queries"}`;
    this.spacer.style.height = `${this.places.length * HEIGHT}px`;
    for (const line of this.lines.values()) line.remove();
    this.lines.clear();
    const still = this.places.indexOf(kept);
    this.chosen = -1;
    this.box.scrollTop = 0;
    this.draw();
    if (this.places.length) this.select(Math.max(0, still), still > 0);
    else { byId("detail").replaceChildren(make("p", {}, "No query fits these filters.")); this.box.removeAttribute("aria-activedescendant"); }
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(this.places.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + SPARE);
    for (const [at, line] of this.lines)
      if (at < first || at >= last) { line.remove(); this.lines.delete(at); }
    for (let at = first; at < last; at++)
      if (!this.lines.has(at)) {
        const line = this.line(at);
        this.lines.set(at, line);
        this.spacer.append(line);
      }
  }

  line(at) {
    const place = this.places[at];
    const files = this.beside === null ? [this.file] : [this.file, this.beside];
    const duration = DATA.duration[place];
    const picture = make("svg", { viewBox: "0 0 1000 18", preserveAspectRatio: "none", "aria-hidden": "true" });
    picture.append(make("rect", { width: 1000, height: 18, class: "track", fill: "none" }));
    for (const window of DATA.windows[place]) picture.append(bar(window, duration, 0, 5, null));
    files.forEach((number, lane) => {
      const windows = DATA.files[number].windows;
      if (windows && windows[place]) picture.append(bar(windows[place][0], duration, 7 + 6 * lane, 4, number));
    });
    const one = DATA.files[this.file];
    const kind = one.mistake ? DATA.kinds[one.mistake[place]] || "" : "";
    const line = make("div", {
      class: "item", role: "option", id: `line-${place}`, "data-at": at, "aria-setsize": this.places.length,
      "aria-posinset": at + 1, "aria-selected": at === this.chosen,
    },
    make("span", { class: "words" }, DATA.query[place]),
    make("span", { class: "value" }, files.map((number) => shown(DATA.files[number].score[place], 1)).join(" · ")),
    picture, make("span", { class: "kind" }, kind));
    line.style.top = `${at * HEIGHT}px`;
    return line;
  }

  select(at, intoSight = true) {
    if (!this.places.length) return;
    const before = this.lines.get(this.chosen);
    if (before) before.setAttribute("aria-selected", "false");
    this.chosen = Math.min(Math.max(at, 0), this.places.length - 1);
    if (intoSight) {
      const top = this.chosen * HEIGHT;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop) this.box.scrollTop = top;
      else if (top + HEIGHT > scrollTop + clientHeight) this.box.scrollTop = top + HEIGHT - clientHeight;
    }
    this.draw();
    const place = this.places[this.chosen];
    const line = this.lines.get(this.chosen);
    if (line) line.setAttribute("aria-selected", "true");
    this.box.setAttribute("aria-activedescendant", `line-${place}`);
    showDetail(place, this.beside === null ? [this.file] : [this.file, this.beside]);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.select(this.chosen + steps[event.key]);
  }

  // An address that ends in #query-QID names a query.
  fromAddress() {
    const qid = decodeURIComponent(location.hash).replace(/^#query-/, "");
    return decodeURIComponent(location.hash).startsWith("#query-") && this.goTo(qid);
  }

  goTo(qid) {
    const place = DATA.qid.findIndex((one) => String(one) === qid);
    if (place < 0) return false;
    if (!this.places.includes(place)) {
      for (const name of FILTERS) byId(name).value = "";
      this.choose();
    }
    this.select(this.places.indexOf(place));
    byId("queries").scrollIntoView();
    return true;
  }
}
