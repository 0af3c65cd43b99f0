"use strict";
// What the pointer is over: the nearest mark of the plot, as a line, dots and a small table.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

const made = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const part = (name, text, style) => {
  const element = document.createElement(name);
  element.textContent = text;
  if (style) element.className = style;
  return element;
};

for (const svg of document.querySelectorAll("svg[data-marks]")) {
  const marks = JSON.parse(svg.dataset.marks);
  const pointer = svg.querySelector(".pointer");
  const leave = () => { tip.hidden = true; pointer.replaceChildren(); };
  if (!marks.length) continue;
  svg.addEventListener("pointerleave", leave);
  addEventListener("scroll", leave, { passive: true });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const [at, title, rows, dots] = marks.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    pointer.replaceChildren(
      made("path", { d: `M${at},${svg.dataset.top}V${svg.dataset.bottom}` }),
      ...dots.map(([style, y]) => made("circle", { class: `${style} dot`, cx: at, cy: y, r: 4 })),
    );
    tip.replaceChildren(part("b", title), ...rows.map(([style, name, text]) => {
      const row = part("div", "", style);
      row.append(part("span", "", "key block"), part("i", name), part("em", text));
      return row;
    }));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    const left = event.clientX + 16 + width > clientWidth ? event.clientX - 16 - width : event.clientX + 16;
    tip.style.left = `${Math.max(4, Math.min(left, clientWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY - height - 12, clientHeight - height - 4))}px`;
  });
}
