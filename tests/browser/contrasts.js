// The contrast of text to its ground, after WCAG: name → ratio.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const parts = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const colour = parts(getComputedStyle(node).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return parts("white");
};
const looked = { text: "p", quiet: ".quiet", link: "nav a", small: "td small", chosen: "[aria-selected=true] .words", kind: ".kind", about: ".about", state: "#state", note: ".notes li", button: "td button" };
const found = {};
for (const [name, select] of Object.entries(looked)) {
  const node = document.querySelector(select);
  if (!node) continue;
  const [a, b] = [light(parts(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
  found[name] = (a + 0.05) / (b + 0.05);
}
return found;
