// One query in full: frames and player where the video is there, truth, saliency, and every predicted window.
const LANE = 14;

function track(children, height, duration) {
  return make("svg", { viewBox: `0 0 1000 ${height}`, preserveAspectRatio: "none", height, class: "track", role: "img", "aria-label": `from 0 to ${duration} seconds` }, ...children);
}

function showDetail(place, files) {
  const detail = byId("detail");
  const duration = DATA.duration[place];
  const windows = DATA.windows[place];
  const parts = [
    make("h3", {}, DATA.query[place]),
    make("p", { class: "quiet" }, `qid ${DATA.qid[place]} · video ${DATA.vid[place]} · ${shown(duration, duration % 1 ? 1 : 0)} s`),
  ];
  const player = playerOf(DATA.vid[place]);
  const seek = (seconds) => { if (player) { player.video.currentTime = Math.max(0, seconds); player.video.play().catch(() => {}); } };
  if (player) parts.push(player.video, player.frames);
  if (windows.length) {
    const text = windows.map(([start, end]) => `${shown(start, 0)}–${shown(end, 0)} s`).join(", ");
    parts.push(make("h4", {}, `Truth: ${text}`));
    parts.push(track(windows.map((window) => seekable(bar(window, duration, 2, 10, null), window, seek, player)), LANE, duration));
  }
  parts.push(...saliency(place, files, duration));
  for (const number of files) parts.push(...predicted(place, number, duration, seek, player));
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
}

function seekable(rect, window, seek, player) {
  rect.append(make("title", {}, `${shown(window[0], 1)} to ${shown(window[1], 1)} s`));
  if (player) {
    rect.classList.add("clickable");
    rect.addEventListener("click", () => seek(window[0]));
  }
  return rect;
}

// Curves of the percentile that each clip has among the clips of its video, over the mean rating of people.
function saliency(place, files, duration) {
  const ratings = DATA.ratings ? DATA.ratings[place] : "";
  const curves = files.filter((number) => DATA.files[number].saliency && DATA.files[number].saliency[place]);
  if (!ratings && !curves.length) return [];
  const height = 84;
  const step = DATA.clip ? (1000 * DATA.clip) / duration : 0;
  const children = [0, 0.5, 1].map((y) => make("line", { x1: 0, x2: 1000, y1: 2 + y * 80, y2: 2 + y * 80, class: "grid", "vector-effect": "non-scaling-stroke" }));
  [...ratings].forEach((letter, clip) => {
    if (letter === ".") return;
    const share = (letter.charCodeAt(0) - 97) / 12;
    children.push(make("rect", { x: clip * step, width: step, y: 82 - 80 * share, height: 80 * share, class: "rating" }));
  });
  for (const number of curves) {
    const ranks = DATA.files[number].saliency[place];
    const width = step || 1000 / ranks.length;
    const y = (rank) => 2 + (80 * (rank - 1)) / Math.max(1, ranks.length - 1);
    const path = ranks.map((rank, clip) => `${clip ? "L" : "M"}${(clip * width).toFixed(1)} ${y(rank).toFixed(1)}h${width.toFixed(1)}`).join("");
    children.push(make("path", { d: path, class: `curve f${number % 4}`, fill: "none", "vector-effect": "non-scaling-stroke" }));
  }
  const names = curves.map((number) => `${DATA.files[number].label}: best clip ${bestClip(DATA.files[number].saliency[place], duration)}`);
  const legend = make("p", { class: "legend" }, `Curves: percentile of a clip's saliency among the ${curves.length ? DATA.files[curves[0]].saliency[place].length : ratings.length} clips of this video, the highest at the top. The sign and size of the raw scores have no meaning. ${ratings ? "Grey: the mean rating of people. " : ""}${names.join(". ")}.`);
  return [make("h4", {}, "Saliency"), track(children, height, duration), ticks(duration), legend];
}

function bestClip(ranks, duration) {
  const at = ranks.indexOf(1);
  const length = DATA.clip || duration / ranks.length;
  return `${shown(at * length, 0)}–${shown((at + 1) * length, 0)} s`;
}

function ticks(duration) {
  const step = [1, 2, 5, 10, 20, 30, 60, 120, 300].find((one) => duration / one <= 6) || 600;
  const node = make("svg", { height: 16, "aria-hidden": "true" });
  for (let second = 0; second <= duration; second += step) {
    const anchor = second === 0 ? "start" : second + step > duration && second > 0.97 * duration ? "end" : "middle";
    node.append(make("text", { x: `${(100 * second) / duration}%`, y: 12, "text-anchor": anchor }, `${second} s`));
  }
  return node;
}

function predicted(place, number, duration, seek, player) {
  const file = DATA.files[number];
  const key = make("span", { class: `key key${number % 4}`, "aria-hidden": "true" });
  const heading = make("h4", {}, key, `${file.label}: ${shown(file.score[place])}`);
  if (!file.windows || !file.windows[place]) return [heading];
  const kinds = kindsOf(file, place).map((kind) => (DATA.kinds[file.mistake[place]] === kind ? `${kind} (the costliest)` : kind));
  const mistakes = make("p", { class: "legend" }, kinds.length ? `Mistakes of this query: ${kinds.join(", ")}.` : "This query has no mistake.");
  const head = ["#", "", "Seconds", "Score", "IoU", "Kind"].map((text) => make("th", { scope: "col", class: text === "Kind" ? "text" : "" }, text));
  head[1].setAttribute("aria-label", "Place in the video");
  const rows = file.windows[place].map((window, rank) => {
    const behind = DATA.windows[place].map((one) => { const rect = bar(one, duration, 0, LANE, null); rect.setAttribute("class", "behind"); return rect; });
    const picture = track([...behind, seekable(bar(window, duration, 2, 10, number), window, seek, player)], LANE, duration);
    const fate = DATA.fates[window[4]] || "";
    return make("tr", {}, make("td", {}, `${rank + 1}`), make("td", { class: "track" }, picture),
      make("td", {}, `${shown(window[0], 0)}–${shown(window[1], 0)}`), make("td", {}, shown(window[2], 3)),
      make("td", {}, shown(window[3])), make("td", { class: "text" }, isRight(window) ? `✓ ${fate}` : fate));
  });
  const columns = ["narrow", "track", "seconds", "small", "small", "kinds"].map((name) => make("col", { class: name }));
  const table = make("table", {}, make("colgroup", {}, ...columns), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return [heading, mistakes, table, make("p", { class: "legend" }, `Kinds are those at IoU ${DATA.shown_at}. Filled: right. Pale: wrong. Grey behind: the truth.`)];
}

// The video plays from where it lies; frames are drawn by the browser from the same file.
function playerOf(vid) {
  const source = DATA.videos[vid];
  if (!source) return null;
  const video = make("video", { controls: "", preload: "metadata", src: source, "aria-label": `video ${vid}` });
  const frames = make("div", { class: "frames", "aria-hidden": "true" });
  const reader = make("video", { preload: "auto", src: source, muted: "" });
  const number = 8;
  let at = 0;
  const next = () => { if (at < number) reader.currentTime = ((at + 0.5) * reader.duration) / number; };
  reader.addEventListener("loadeddata", next, { once: true });
  reader.addEventListener("seeked", () => {
    const canvas = make("canvas", { width: 160, height: Math.round((160 * reader.videoHeight) / (reader.videoWidth || 1)) || 90 });
    canvas.getContext("2d").drawImage(reader, 0, 0, canvas.width, canvas.height);
    frames.append(canvas);
    at += 1;
    next();
  });
  return { video, frames };
}

if (DATA && DATA.qid) {
  const list = new List();
  for (const link of document.querySelectorAll("a.jump"))
    link.addEventListener("click", (event) => {
      if (link.dataset.qid !== undefined) {
        event.preventDefault();
        list.goTo(link.dataset.qid);
        byId("list").focus({ preventScroll: true });
        return;
      }
      byId("file").value = link.dataset.file;
      if (byId("beside").value === link.dataset.file) byId("beside").value = link.dataset.file === "0" && DATA.files.length > 1 ? "1" : "0";
      for (const name of FILTERS) byId(name).value = "";
      byId(link.dataset.filter).value = link.dataset.kind;
      list.choose();
    });
}
