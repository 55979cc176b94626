// A reproduced number opens what it stands on.
const STORIES = DATA && DATA.stories;

function entry(name, ...values) {
  return values.length ? [make("dt", {}, name), ...values.map((value) => make("dd", {}, value))] : [];
}

function openStory(story, column, back) {
  const one = story.columns[column];
  const dialog = make("dialog", { class: "story", "aria-labelledby": "story-title" });
  const close = make("button", { type: "button", class: "close", autofocus: "" }, "Close");
  const links = story.links.map(([what, address]) => make("a", { href: address }, what));
  if (document.getElementById(story.figure)) links.push(make("a", { href: `#${story.figure}` }, "learning curves"));
  const list = make("dl", {},
    ...entry("Published", ...(one.published === null ? [] : [one.published || "–"])),
    ...entry("Reproduced, for each seed", ...one.values.map((value, at) => `${story.seeds[at] ? `seed ${story.seeds[at]}: ` : ""}${value}`)),
    ...entry("Last epoch", ...one.last),
    ...entry("Half of the 95 % interval over videos, first run", ...(one.half === null ? [] : [`±${one.half}`])),
    ...entry("Difference to the published number", ...(one.difference === null ? [] : [one.difference])),
    ...entry("Verdict", ...(one.verdict ? [one.verdict] : [])),
    ...entry("Queries or videos", String(story.queries)),
    ...entry("Selected epochs", ...story.epochs),
    ...entry("Features", ...story.families),
    ...entry("Notes", ...story.notes),
    ...entry("Revisions of the stages", story.revisions),
    ...entry("Commit of the code when training ended", ...story.commits),
    ...entry("Commit of the code that made this report", ...(DATA.commit ? [DATA.commit] : [])),
    ...entry("Make it again", make("code", {}, story.command)),
    ...entry("See also", ...links));
  dialog.append(close, make("h3", { id: "story-title" }, `${story.label}, ${column}`), list);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("a[href^='#']")) dialog.close(); });
  dialog.addEventListener("close", () => { dialog.remove(); back.focus({ preventScroll: true }); });
  document.body.append(dialog);
  dialog.showModal();
}

if (STORIES) {
  for (const button of document.querySelectorAll("button.cell"))
    button.addEventListener("click", () => openStory(STORIES[Number(button.dataset.story)], button.dataset.column, button));
  for (const box of document.querySelectorAll(".choose")) {
    const table = document.getElementById(box.dataset.table);
    const [features, kind] = box.querySelectorAll("select");
    const known = [...new Set([...table.tBodies].map((body) => body.dataset.features))].filter(Boolean);
    features.append(...known.map((name) => make("option", { value: name }, name)));
    box.addEventListener("change", () => {
      for (const body of table.tBodies) {
        const runs = body.querySelector(".reproduced");
        body.hidden = (features.value && body.dataset.features !== features.value) || (kind.value === "runs" && !runs);
        for (const row of body.rows) row.hidden = kind.value === "published" && !row.matches(".published, .yardstick");
      }
    });
  }
}
